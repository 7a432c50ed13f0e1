# A mail-summary agent reads the messages of the folders it was given, with the scope for each, and does nothing else.
package tasks.mail

import rego.v1

decision := {"allowed": true} if {
	reads_messages
	folder_allowed
	scope in input.identity.scopes
} else := {"allowed": false, "reason": "operation_not_allowed"} if {
	not reads_messages
} else := {"allowed": false, "reason": "folder_not_allowed"} if {
	not folder_allowed
} else := {"allowed": false, "challenge": {"scope": scope}}

reads_messages if {
	input.attributes.request.http.method == "GET"
	input.attributes.request.http.host == "mail.example.com"
	["v1", "folders", _, "messages"] = input.parsed_path
}

folder_allowed if folder in data.agents[input.identity.agent].folders

folder := input.parsed_path[2]

scope := concat(":", ["read:mail", folder])
