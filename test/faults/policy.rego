# What the fault matrix asks for, by the first part of the path. Other paths have no result.
package envoy.authz

import rego.v1

wanted := input.parsed_path[0]

result := answers[wanted]

result := {"allowed": true} if wanted in {"allowed", "before"}

result := {"allowed": true} if {
	wanted == "public"
	not input.identity
}

result := {"allowed": input.parsed_body.folder == "inbox"} if wanted == "body"

# Two values for one rule: the evaluation throws.
result := {"allowed": clash == 1} if wanted == "throws"

clash := 1 if wanted == "throws"

clash := 2 if wanted == "throws"

answers := {
	"no": {"allowed": false},
	"not-today": {"allowed": false, "reason": "not_today"},
	"observe": {"allowed": false, "reason": "not_today"},
	"malformed": {"allowed": "yes"},
	"after": {"allowed": false},
}
