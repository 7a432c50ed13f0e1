package envoy.authz_test

import rego.v1

import data.envoy.authz

asks(agent, host, method, path) := {
	"attributes": {"request": {"http": {"host": host, "method": method}}},
	"parsed_path": path,
	"identity": {
		"iss": "https://idp.example.com",
		"agent": agent,
		"agent_iss": "https://idp.example.com",
		"scopes": [],
		"claims": {"aud": concat("", ["https://", host])},
	},
}

test_each_task_is_reached if {
	authz.result.allowed with input as object.union(
		asks("mail-summary", "mail.example.com", "GET", ["v1", "folders", "inbox", "messages"]),
		{"identity": {"scopes": ["read:mail:inbox"]}},
	)
	authz.result.allowed with input as asks("sql-analytics", "sql.example.com", "GET", ["v1", "datasets", "sales", "rows"])
	authz.result.allowed with input as asks("git-bot", "git.example.com", "GET", ["v1", "repos", "acme-web", "contents"])
	authz.result.allowed with input as asks("assistant", "calendar.example.com", "GET", ["v1", "events"])
}

test_an_unknown_agent_may_nothing if {
	authz.result == {"allowed": false, "reason": "agent_unknown"} with input as asks("other", "mail.example.com", "GET", [""])
}

test_an_agent_of_another_issuer_is_unknown if {
	request := asks("assistant", "crm.example.com", "GET", ["v1", "contacts"])
	stranger := {"identity": {"agent_iss": "https://elsewhere.example.com"}}
	authz.result == {"allowed": false, "reason": "agent_unknown"} with input as object.union(request, stranger)
}

test_a_user_without_an_agent_may_nothing if {
	without_agent := object.remove(asks("", "mail.example.com", "GET", [""]), ["identity"])
	user := object.union(without_agent, {"identity": {"claims": {"aud": "https://mail.example.com"}}})
	authz.result == {"allowed": false, "reason": "agent_unknown"} with input as user
}

test_a_token_is_for_one_api if {
	request := asks("assistant", "crm.example.com", "GET", ["v1", "contacts"])
	for_calendar := {"identity": {"claims": {"aud": "https://calendar.example.com"}}}
	for_both := {"identity": {"claims": {"aud": ["https://calendar.example.com", "https://crm.example.com"]}}}
	authz.result.reason == "token_for_another_api" with input as object.union(request, for_calendar)
	authz.result.allowed with input as object.union(request, for_both)
}

test_no_api_takes_parameters if {
	request := asks("git-bot", "git.example.com", "GET", ["v1", "repos", "acme-web", "contents"])
	authz.result.allowed with input as object.union(request, {"parsed_query": {}})
	with_query := object.union(request, {"parsed_query": {"ref": ["../secrets"]}})
	authz.result.reason == "parameters_not_allowed" with input as with_query
}

test_a_method_is_not_overridden if {
	request := asks("git-bot", "git.example.com", "GET", ["v1", "repos", "acme-web", "contents"])
	every name in ["x-http-method", "x-http-method-override", "x-method-override"] {
		field := {"key": name, "rawValue": base64.encode("DELETE")}
		overridden := {"attributes": {"request": {"http": {"headerMap": {"headers": [field]}}}}}
		authz.result.reason == "operation_not_allowed" with input as object.union(request, overridden)
	}
}

test_without_a_token_only_public_is_open if {
	nobody := object.remove(asks("", "mail.example.com", "GET", ["public", "status"]), ["identity"])
	authz.result.allowed with input as nobody
	every path in [["v1"], ["public", "..", "v1"], ["public", ".", "terms"], ["public", "..;", "v1"], ["public", "..;a=b", "v1"]] {
		authz.result.reason == "identity_missing" with input as object.union(nobody, {"parsed_path": path})
	}
}
