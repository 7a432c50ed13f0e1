package tasks.mail_test

import rego.v1

import data.tasks.mail

asks(method, path, scopes) := {
	"attributes": {"request": {"http": {"host": "mail.example.com", "method": method}}},
	"parsed_path": path,
	"identity": {"agent": "mail-summary", "scopes": scopes},
}

inbox := ["v1", "folders", "inbox", "messages"]

test_reads_the_inbox if {
	mail.decision == {"allowed": true} with input as asks("GET", inbox, ["read:mail:inbox"])
}

test_reads_no_other_folder if {
	drafts := ["v1", "folders", "drafts", "messages"]
	mail.decision == {"allowed": false, "reason": "folder_not_allowed"} with input as asks("GET", drafts, ["read:mail:drafts"])
}

test_needs_the_scope_and_says_which if {
	mail.decision == {"allowed": false, "challenge": {"scope": "read:mail:inbox"}} with input as asks("GET", inbox, ["read:mail"])
}

test_does_nothing_but_read if {
	every request in [["POST", inbox], ["DELETE", inbox], ["GET", ["v1", "folders"]], ["GET", array.concat(inbox, ["1"])]] {
		mail.decision.reason == "operation_not_allowed" with input as asks(request[0], request[1], ["read:mail:inbox"])
	}
}
