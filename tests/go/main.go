// Workloads for the tests of whole daemons. They know nothing of Steeple: they use go-spiffe against a Workload API
// socket, and print one JSON object a line, each with an "event". Those in tests/java, tests/python and tests/rust do
// the same with the libraries of their languages; all take -socket.
//
//	watch -rotations N           follow one X509Source until its SVID was rotated N times
//	                             svid: id, serial
//	jwt   -audience A -foreign TOKEN -expired TOKEN
//	                             fetch a JWT-SVID and validate it twice, with the bundles and by the agent; then for
//	                             another audience, and the two tokens that must not be accepted
//	                             jwt: id, validated (the ID again, from the agent), audience
//	                             refused: why (audience, trust_domain, expired), library, agent (what each said)
//	serve -peer ID               accept mTLS connections of ID until killed, and send back what they send
//	                             listening: address; failed: error
//	call  -peer ID -address A -rotations N
//	                             connect to A again and again until both sides were rotated N times
//	                             done: handshakes, own, theirs (certificates)
//
// Each may end with error: error.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// The caller kills a workload that it no longer wants; this is only so that a forgotten one does not stay.
const limit = 5 * time.Minute

var (
	flags     = flag.NewFlagSet("workload", flag.ExitOnError)
	socket    = flags.String("socket", "", "Workload API, as unix:///path")
	rotations = flags.Int("rotations", 1, "how many to wait for")
	audience  = flags.String("audience", "", "of the JWT-SVID")
	foreign   = flags.String("foreign", "", "JWT-SVID of another trust domain, for the audience")
	expired   = flags.String("expired", "", "JWT-SVID that has expired, for the audience")
	peer      = flags.String("peer", "", "SPIFFE ID of the other side")
	address   = flags.String("address", "", "where the other side listens")
)

func main() {
	commands := map[string]func(context.Context) error{"watch": watch, "jwt": jwt, "serve": serve, "call": call}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: workload watch|jwt|serve|call FLAGS")
		os.Exit(2)
	}
	_ = flags.Parse(os.Args[2:]) // exits by itself
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := commands[os.Args[1]](ctx); err != nil {
		event("error", "error", err.Error())
		os.Exit(1)
	}
}

func watch(ctx context.Context) error {
	source, err := x509Source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	serials := map[string]bool{}
	for {
		svid, err := source.GetX509SVID()
		if err != nil {
			return err
		}
		// What the agent hands out must hold against the bundle that it hands out.
		if _, _, err := x509svid.Verify(svid.Certificates, source); err != nil {
			return err
		}
		if serial := svid.Certificates[0].SerialNumber.String(); !serials[serial] {
			serials[serial] = true
			event("svid", "id", svid.ID.String(), "serial", serial)
		}
		if len(serials) > *rotations {
			return nil
		}
		if err := source.WaitUntilUpdated(ctx); err != nil {
			return err
		}
	}
}

func jwt(ctx context.Context) error {
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(*socket))
	if err != nil {
		return err
	}
	defer client.Close()
	svid, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: *audience})
	if err != nil {
		return err
	}
	bundles, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return err
	}
	parsed, err := jwtsvid.ParseAndValidate(svid.Marshal(), bundles, []string{*audience})
	if err != nil {
		return err
	}
	validated, err := client.ValidateJWTSVID(ctx, svid.Marshal(), *audience)
	if err != nil {
		return err
	}
	event("jwt", "id", parsed.ID.String(), "validated", validated.ID.String(), "audience", parsed.Audience)

	// Says why a token is not accepted, by the library and by the agent; an empty text where it is.
	refused := func(why, token, audience string) {
		_, byLibrary := jwtsvid.ParseAndValidate(token, bundles, []string{audience})
		_, byAgent := client.ValidateJWTSVID(ctx, token, audience)
		event("refused", "why", why, "library", text(byLibrary), "agent", text(byAgent))
	}
	refused("audience", svid.Marshal(), "another-"+*audience)
	refused("trust_domain", *foreign, *audience)
	refused("expired", *expired, *audience)
	return nil
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func x509Source(ctx context.Context) (*workloadapi.X509Source, error) {
	return workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(*socket)))
}

func peerID() (spiffeid.ID, error) {
	return spiffeid.FromString(*peer)
}

// event prints a name and pairs of key and value.
func event(name string, pairs ...any) {
	object := map[string]any{"event": name}
	for i := 0; i < len(pairs); i += 2 {
		object[pairs[i].(string)] = pairs[i+1]
	}
	line, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}
