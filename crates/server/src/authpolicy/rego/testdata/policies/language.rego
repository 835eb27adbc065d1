# The language: rules in parts, defaults, else, functions, comprehensions, every, with.
package spire

import data.callers as known

method := split(input.full_method, "/")[2]

kind := "reads" if {
	some prefix in ["Get", "List", "Count", "Check"]
	startswith(method, prefix)
} else := "creates" if {
	contains(method, "Create")
} else := "changes"

result.allow := kind == "reads"

result.allow_if_local if input.caller == ""

result.allow_if_local := false if input.caller != ""

result["allow_if_admin"] := all_typed

result.allow_if_downstream := count(types) > 1

result.allow_if_agent := size(input.req) > 2

result.kind := kind

result.types := types

result.by_path := {path: kinds |
	some entry in input.req.entries
	path := entry.spiffe_id.path
	kinds := [selector.type | some selector in entry.selectors]
}

result.known := count(known[input.full_method])

result.mocked := m if {
	m := kind with input.full_method as "/a/GetB"
}

result.walked := count([path | walk(input, [path, _])])

default all_typed := false

all_typed if {
	every entry in input.req.entries {
		every selector in entry.selectors {
			selector.type != ""
		}
	}
}

types contains selector.type if {
	some entry in input.req.entries
	some selector in entry.selectors
}

default size(_) := -1

size(x) := count(x) if is_object(x)

size(x) := 0 if is_null(x)
