// Command opa asks a policy as SPIRE does: once for each input, a line of standard input, with a line of standard output
// for each answer. An answer is {"result": ...}, {} where the policy has none, or {"error": "..."}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/util"
)

type answer struct {
	Result any    `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

func main() {
	policy, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	var data map[string]any
	if err := util.UnmarshalJSON(text, &data); err != nil {
		panic(err)
	}
	answers := json.NewEncoder(os.Stdout)
	say := func(answer answer) {
		if err := answers.Encode(answer); err != nil {
			panic(err)
		}
	}
	ctx := context.Background()
	query, err := rego.New(
		rego.Query("data.spire.result"),
		rego.Module("policy.rego", string(policy)),
		rego.Store(inmem.NewFromObject(data)),
		rego.SetRegoVersion(ast.RegoV1),
	).PrepareForEval(ctx)
	if err != nil {
		say(answer{Error: err.Error()})
		return
	}
	inputs := bufio.NewScanner(os.Stdin)
	inputs.Buffer(nil, 1<<20)
	for inputs.Scan() {
		var input any
		if err := util.UnmarshalJSON(inputs.Bytes(), &input); err != nil {
			panic(err)
		}
		results, err := query.Eval(ctx, rego.EvalInput(input))
		switch {
		case err != nil:
			say(answer{Error: err.Error()})
		case len(results) == 0:
			say(answer{})
		default:
			say(answer{Result: results[0].Expressions[0].Value})
		}
	}
}
