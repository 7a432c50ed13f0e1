# Who may do what, decided by which agent asks. Each agent of data.agents has a task; each task is a file of its own.
# What follows an agent is rows in data.json, not rules: a rule for each agent would make every decision slower.
#
#   task         agent          host                   for example
#   mail         mail-summary   mail.example.com       GET /v1/folders/inbox/messages
#   analytics    sql-analytics  sql.example.com        GET /v1/datasets/sales/rows, POST /v1/queries {"name": "revenue_by_month"}
#   git          git-bot        git.example.com        GET /v1/repos/acme-web/contents, GET and POST /v1/repos/acme-web/pulls
#   assistant    assistant      calendar.example.com   GET /v1/events
#                               crm.example.com        GET and POST /v1/contacts
#
# None of these APIs takes parameters in the query, and what one makes of parameters that it does not know is not guessed here.
# A token is for one API: its audience must be https:// and the host that is asked. An agent is one that the token's own
# issuer knows; where several issuers are configured, let the rows name theirs (input.identity.issuer) too. Without a token
# only /public is open.
package envoy.authz

import rego.v1

import data.request
import data.tasks

default result := {"allowed": false, "reason": "agent_unknown"}

result := {"allowed": true} if {
	not input.identity
	input.parsed_path[0] == "public"
	not climbs
} else := {"allowed": false, "reason": "identity_missing"} if {
	not input.identity
} else := {"allowed": false, "reason": "token_for_another_api"} if {
	not for_this_api
} else := {"allowed": false, "reason": "parameters_not_allowed"} if {
	input.parsed_query != {}
} else := {"allowed": false, "reason": "operation_not_allowed"} if {
	method_overridden
} else := tasks.mail.decision if {
	task == "mail"
} else := tasks.analytics.decision if {
	task == "analytics"
} else := tasks.git.decision if {
	task == "git"
} else := tasks.assistant.decision if {
	task == "assistant"
}

task := data.agents[input.identity.agent].task if input.identity.agent_iss == input.identity.iss

# Many frameworks take these for the method, which the tasks look at.
method_overridden if {
	some name in ["x-http-method", "x-http-method-override", "x-method-override"]
	count(request.header(name)) > 0
}

# Policy sees a path as it came: /public/../v1 begins with public, and is not there for every upstream; nor is /public/..;/v1
# for one that takes a parameter off each segment first.
climbs if {
	some segment in input.parsed_path
	split(segment, ";")[0] in {".", ".."}
}

for_this_api if api == input.identity.claims.aud

for_this_api if api in input.identity.claims.aud

api := concat("", ["https://", input.attributes.request.http.host])
