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
		["GET", ["acme-web", "pulls", ".."]],
	] {
		git.decision.reason == "operation_not_allowed" with input as asks(request[0], request[1])
	}
}

test_touches_no_other_repository if {
	git.decision.reason == "repository_not_allowed" with input as asks("GET", ["secrets", "contents"])
}

test_merges_a_pull_request_where_that_is_listed if {
	listed := {"git-bot": {"repositories": {"acme-web": ["pulls.merge"]}}}
	git.decision.allowed with input as asks("POST", ["acme-web", "pulls", "7", "merge"]) with data.agents as listed
	every number in ["", "..", "7a"] {
		request := asks("POST", ["acme-web", "pulls", number, "merge"])
		git.decision.reason == "operation_not_allowed" with input as request with data.agents as listed
	}
}

test_does_nothing_at_another_host if {
	elsewhere := {"attributes": {"request": {"http": {"host": "mail.example.com"}}}}
	request := object.union(asks("GET", ["acme-web", "pulls"]), elsewhere)
	git.decision.reason == "operation_not_allowed" with input as request
}
