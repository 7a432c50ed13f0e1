package tasks.analytics_test

import rego.v1

import data.tasks.analytics

asks(method, path, body) := {
	"attributes": {"request": {"http": {"host": "sql.example.com", "method": method}}},
	"parsed_path": path,
	"parsed_body": body,
	"identity": {"agent": "sql-analytics"},
}

test_reads_the_datasets_it_was_given if {
	analytics.decision.allowed with input as asks("GET", ["v1", "datasets", "sales", "rows"], null)
	analytics.decision.reason == "dataset_not_allowed" with input as asks("GET", ["v1", "datasets", "salaries", "rows"], null)
}

test_runs_reviewed_queries_by_name if {
	analytics.decision.allowed with input as asks("POST", ["v1", "queries"], {"name": "revenue_by_month"})
	every body in [{"name": "drop_everything"}, {"sql": "select 1"}, {"name": ["revenue_by_month"]}, {"name": "revenue_by_month", "sql": "drop"}, null] {
		analytics.decision.reason == "query_not_allowed" with input as asks("POST", ["v1", "queries"], body)
	}
}

test_writes_nothing if {
	every method in ["POST", "PUT", "PATCH", "DELETE"] {
		analytics.decision.reason == "operation_not_allowed" with input as asks(method, ["v1", "datasets", "sales", "rows"], null)
	}
}

test_does_nothing_at_another_host if {
	elsewhere := {"attributes": {"request": {"http": {"host": "mail.example.com"}}}}
	every request in [
		asks("GET", ["v1", "datasets", "sales", "rows"], null),
		asks("POST", ["v1", "queries"], {"name": "revenue_by_month"}),
	] {
		analytics.decision.reason == "operation_not_allowed" with input as object.union(request, elsewhere)
	}
}
