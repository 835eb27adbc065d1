# A policy with holes: no answer for some, not all members for others, and contradictions.
package spire

result := {"allow": allow, "allow_if_admin": admin, "allow_if_local": false, "allow_if_downstream": false, "allow_if_agent": false} if {
	not contains(input.full_method, "Federat")
}

allow := input.req.page_size > 10 if endswith(input.full_method, "ListEntries")

allow if not endswith(input.full_method, "ListEntries")

admin if input.caller == ""

admin := false if contains(input.full_method, "Agent")

admin if contains(input.full_method, "Entry")
