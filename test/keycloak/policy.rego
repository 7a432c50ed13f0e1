# Allows whoever may read tools, and shows the upstream what policy saw of the caller.
package envoy.authz

import rego.v1

default result := {"allowed": false, "challenge": {"scope": "tools.read"}}

result := {"allowed": true, "headers": {"x-seen-by-policy": json.marshal(seen)}} if {
	"tools.read" in input.identity.scopes
}

seen := object.remove(input.identity, ["claims"])
