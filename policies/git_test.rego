package tasks.git_test

import rego.v1

import data.tasks.git

asks(method, path) := {
	"attributes": {"request": {"http": {"host": "git.example.com", "method": method}}},
	"parsed_path": array.concat(["v1", "repos"], path),
	"identity": {"agent": "git-bot"},
}

test_does_what_is_listed if {
	every request in [["GET", ["acme-web", "contents"]], ["GET", ["acme-web", "pulls"]], ["POST", ["acme-web", "pulls"]]] {
		git.decision.allowed with input as asks(request[0], request[1])
	}
}

test_does_nothing_else if {
	every request in [
		["POST", ["acme-web", "pulls", "7", "merge"]],
		["DELETE", ["acme-web"]],
		["POST", ["acme-docs", "pulls"]],
		["GET", ["acme-web", "contents", ""]],
	] {
		git.decision.reason == "operation_not_allowed" with input as asks(request[0], request[1])
	}
}

test_touches_no_other_repository if {
	git.decision.reason == "repository_not_allowed" with input as asks("GET", ["secrets", "contents"])
}
