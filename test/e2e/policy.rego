# What the end-to-end tests ask for, by the first part of the path. Other paths have no result.
package envoy.authz

import rego.v1

wanted := input.parsed_path[0]

result := answers[wanted]

result := {"allowed": true} if wanted in {"allowed", "agents"}

result := {"allowed": true} if {
	wanted == "public"
	not input.identity
}

result := {"allowed": true, "headers": {"x-seen-by-policy": input.identity.agent}} if wanted == "whoami"

result := {"allowed": input.parsed_body.folder == "inbox"} if wanted == "body"

answers := {
	"no": {"allowed": false},
	"not-today": {"allowed": false, "reason": "not_today"},
	"observe": {"allowed": false, "reason": "not_today", "headers": {"x-from-policy": "refused"}},
	"scope": {"allowed": false, "challenge": {"scope": "read:mail:inbox"}},
	"teapot": {"allowed": false, "http_status": 418, "body": "short and stout"},
	"malformed": {"allowed": "yes"},
	"deep": {"allowed": false, "dynamic_metadata": nested},
	"trusted": {"allowed": true, "headers": {"x-agent-id": "admin"}},
}

# More objects inside one another than Envoy reads.
nested := json.unmarshal(concat("", [
	concat("", [`{"a":` | some _ in numbers.range(1, 60)]),
	"1",
	concat("", ["}" | some _ in numbers.range(1, 60)]),
]))
