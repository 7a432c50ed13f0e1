package request_test

import rego.v1

import data.request

with_http(http) := {"attributes": {"request": {"http": http}}}

test_a_header_in_either_form if {
	request.header("x-a") == ["1"] with input as with_http({"headers": {"x-a": "1", "x-b": "2"}})
	request.header("x-a") == ["1", "2"] with input as with_http({"headerMap": {"headers": [
		{"key": "x-a", "rawValue": base64.encode("1")},
		{"key": "x-b", "rawValue": base64.encode("3")},
		{"key": "X-A", "value": "2"},
	]}})
}

test_no_such_header if {
	request.header("x-a") == [] with input as with_http({"headers": {}})
	request.header("x-a") == [] with input as {}
}
