# An SQL-analytics agent may only read: rows of the datasets it was given, and queries that were written and reviewed
# beforehand, by name. It sends no SQL, so there is none to tell reading from writing by.
package tasks.analytics

import rego.v1

decision := {"allowed": true} if {
	reads_rows
	dataset_allowed
} else := {"allowed": true} if {
	runs_query
	query_allowed
} else := {"allowed": false, "reason": "dataset_not_allowed"} if {
	reads_rows
} else := {"allowed": false, "reason": "query_not_allowed"} if {
	runs_query
} else := {"allowed": false, "reason": "operation_not_allowed"}

reads_rows if {
	input.attributes.request.http.method == "GET"
	input.attributes.request.http.host == "sql.example.com"
	["v1", "datasets", _, "rows"] = input.parsed_path
}

runs_query if {
	input.attributes.request.http.method == "POST"
	input.attributes.request.http.host == "sql.example.com"
	["v1", "queries"] = input.parsed_path
}

dataset_allowed if input.parsed_path[2] in data.agents[input.identity.agent].datasets

# The whole body: whatever stood beside the name, the database could read.
query_allowed if {
	some query in data.agents[input.identity.agent].queries
	input.parsed_body == {"name": query}
}
