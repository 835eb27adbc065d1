# Who may call what: SPIRE's default policy, as a beginning for one of your own. docs/policy.md tells how policies work.
package spire

# Classes of callers that policy_data.json names for the method that is called.
callers := object.get(data.callers, input.full_method, [])

result := {
	"allow": "any" in callers,
	"allow_if_local": "local" in callers,
	"allow_if_admin": "admin" in callers,
	"allow_if_agent": "agent" in callers,
	"allow_if_downstream": "downstream" in callers,
}
