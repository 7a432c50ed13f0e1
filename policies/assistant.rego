# An assistant calls several APIs, with a token of its own for each (main.rego compares its audience with the host): what
# one API learns from its token is of no use at another. Per API, the methods and collections it may use.
package tasks.assistant

import rego.v1

decision := {"allowed": true} if {
	input.attributes.request.http.method in api[collection]
} else := {"allowed": false, "reason": "api_not_allowed"} if {
	not api
} else := {"allowed": false, "reason": "operation_not_allowed"}

api := data.agents[input.identity.agent].apis[input.attributes.request.http.host]

collection := input.parsed_path[1] if {
	["v1", _] = input.parsed_path
}
