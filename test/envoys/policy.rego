# What the matrix asks for, by the first part of the path. Other paths have no result.
package envoy.authz

import rego.v1

wanted := input.parsed_path[0]

result := answers[wanted]

# What policy saw is told to the upstream.
result := {"allowed": true, "headers": {"x-policy-saw": base64.encode(json.marshal(seen))}} if {
	wanted in {"see", "agents", "keep", "by-envoy", "matrix.Echo"}
}

result := {"allowed": true} if {
	wanted == "public"
	not input.identity
}

# As a policy that decides by the body should.
result := {"allowed": true} if {
	wanted == "body"
	for_inbox
} else := {"allowed": false} if {
	wanted == "body"
}

for_inbox if {
	not input.truncated_body
	input.parsed_body.folder == "inbox"
}

seen := {
	"path": input.parsed_path,
	"query": input.parsed_query,
	"body": body,
	"truncated": input.truncated_body,
	"marked": marks,
}

# What Envoy, or the client, says of the body being cut, in either encoding of headers.
marks := array.concat(
	[value | value := input.attributes.request.http.headers["x-envoy-auth-partial-body"]],
	[value |
		some field in input.attributes.request.http.headerMap.headers
		field.key == "x-envoy-auth-partial-body"
		value := base64.decode(field.rawValue)
	],
)

# Without what only makes it long.
body := object.remove(input.parsed_body, ["padding"]) if is_object(input.parsed_body)

body := input.parsed_body if not is_object(input.parsed_body)

answers := {
	"no": {"allowed": false},
	"not-today": {"allowed": false, "reason": "not_today"},
	"observe": {"allowed": false, "reason": "not_today", "headers": {"x-from-policy": "refused"}},
	"scope": {"allowed": false, "challenge": {"scope": "read:mail:inbox"}},
	"teapot": {"allowed": false, "http_status": 418, "body": "short and stout"},
	"login": {
		"allowed": false,
		"http_status": 302,
		"headers": {"location": "https://login.example.com/", "set-cookie": ["a=1", "b=2"]},
		"body": "",
	},
	"quota": {"allowed": false, "http_status": 429, "headers": {"retry-after": "7"}},
	"mock": {"allowed": false, "http_status": 200, "body": "answered by policy"},
	"malformed": {"allowed": "yes"},
	"trusted": {"allowed": true, "headers": {"x-agent-id": "admin"}},
	"deep": {"allowed": false, "dynamic_metadata": nested},
	"envoys-own": {"allowed": true, "headers": {"x-envoy-original-path": "/elsewhere"}},
	"changes": {
		"allowed": true,
		"headers": {"x-new": "1", "x-changed": "by policy", "x-several": ["1", "2"]},
		"request_headers_to_remove": ["x-removed"],
		"response_headers_to_add": {"x-to-client": "from policy"},
		"query_parameters_to_set": {"changed": "2", "new": "3"},
		"query_parameters_to_remove": ["removed"],
	},
}

# More objects inside one another than Envoy reads.
nested := json.unmarshal(concat("", [
	concat("", [`{"a":` | some _ in numbers.range(1, 60)]),
	"1",
	concat("", ["}" | some _ in numbers.range(1, 60)]),
]))
