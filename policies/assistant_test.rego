package tasks.assistant_test

import rego.v1

import data.tasks.assistant

asks(host, method, path) := {
	"attributes": {"request": {"http": {"host": host, "method": method}}},
	"parsed_path": path,
	"identity": {"agent": "assistant"},
}

test_uses_each_api_as_listed if {
	assistant.decision.allowed with input as asks("calendar.example.com", "GET", ["v1", "events"])
	assistant.decision.allowed with input as asks("crm.example.com", "POST", ["v1", "contacts"])
}

test_does_nothing_else_there if {
	assistant.decision.reason == "operation_not_allowed" with input as asks("calendar.example.com", "POST", ["v1", "events"])
	assistant.decision.reason == "operation_not_allowed" with input as asks("crm.example.com", "GET", ["v1", "contacts", "7"])
}

test_uses_no_other_api if {
	assistant.decision.reason == "api_not_allowed" with input as asks("mail.example.com", "GET", ["v1", "events"])
}
