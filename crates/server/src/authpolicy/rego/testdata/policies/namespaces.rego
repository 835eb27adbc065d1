# Administrators of teams, each in its part of the trust domain.
package spire

callers := object.get(data.callers, input.full_method, [])

teams := {
	"spiffe://example.org/caller/admin": "/caller/",
	"spiffe://example.org/someid": "/team-a/",
}

result := {
	"allow": allow,
	"allow_if_local": "local" in callers,
	"allow_if_admin": allow_if_admin,
	"allow_if_agent": "agent" in callers,
	"allow_if_downstream": "downstream" in callers,
}

default allow := false

allow if "any" in callers

allow if {
	endswith(input.full_method, "/ListEntries")
	input.caller == "spiffe://example.org/auditor"
}

default allow_if_admin := false

allow_if_admin if {
	"admin" in callers
	count(foreign) == 0
}

foreign contains entry.spiffe_id.path if {
	some entry in input.req.entries
	not own(entry)
}

own(entry) if startswith(entry.spiffe_id.path, teams[input.caller])

own(entry) if {
	input.caller == ""
	entry.spiffe_id.trust_domain == "example.org"
}
