# What a request says beside its path and body, in one form whichever Envoy sends: `headers`, or `headerMap` where
# encode_raw_headers is on, as in envoy/envoy.yaml.
package request

import rego.v1

# Every value of a header, by its name in lower case.
header(name) := array.concat(
	[value | value := input.attributes.request.http.headers[name]],
	[value |
		some field in input.attributes.request.http.headerMap.headers
		lower(field.key) == name
		value := text(field)
	],
)

text(field) := base64.decode(field.rawValue)

text(field) := field.value if not field.rawValue
