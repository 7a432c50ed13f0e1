# A Git agent has a list of operations for each repository. What is no known operation is none that it may do.
package tasks.git

import rego.v1

decision := {"allowed": true} if {
	input.attributes.request.http.host == "git.example.com"
	operation in data.agents[input.identity.agent].repositories[repository]
} else := {"allowed": false, "reason": "repository_not_allowed"} if {
	not data.agents[input.identity.agent].repositories[repository]
} else := {"allowed": false, "reason": "operation_not_allowed"}

repository := input.parsed_path[2]

operation := "contents.read" if {
	method == "GET"
	["v1", "repos", _, "contents"] = input.parsed_path
}

operation := "pulls.list" if {
	method == "GET"
	["v1", "repos", _, "pulls"] = input.parsed_path
}

operation := "pulls.create" if {
	method == "POST"
	["v1", "repos", _, "pulls"] = input.parsed_path
}

operation := "pulls.merge" if {
	method == "POST"
	["v1", "repos", _, "pulls", number, "merge"] = input.parsed_path
	regex.match(`^[0-9]+$`, number)
}

method := input.attributes.request.http.method
