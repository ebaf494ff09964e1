package api_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/rollout"
	"assent/server/internal/auth"
)

func (s *services) Rollouts(_ context.Context, x0 auth.Actor, x1 client.RolloutQuery) (client.List[client.RolloutRow], error) {
	return answer[client.List[client.RolloutRow]](s, "Rollouts", x0, x1)
}

func (s *services) Rollout(_ context.Context, x0 auth.Actor, x1, x2 string) (client.RolloutDetail, error) {
	return answer[client.RolloutDetail](s, "Rollout", x0, x1, x2)
}

func (s *services) Act(_ context.Context, x0 auth.Actor, x1 client.RolloutAct) (client.RolloutActed, error) {
	return answer[client.RolloutActed](s, "Act", x0, x1)
}

// rolloutRows are the rows about rollouts of the table of N07.
func rolloutRows() []row {
	return []row{
		{"GET", "/rollouts?only=halted", readers, "", "Rollouts", 200},
		{"GET", "/rollouts/nightly/u1", readers, "", "Rollout", 200},
		{"POST", "/rollouts/nightly/u1/halt", approvers, `{}`, "Act", 200},
		{"POST", "/rollouts/nightly/u1/skip", approvers, `{"ring":"Test","reason":"r"}`, "Act", 200},
	}
}

func TestRolloutCallsReachTheirServiceWithEverythingTheyWereGiven(t *testing.T) {
	w := newWorld(t)
	c := w.connect(t, "administrator")
	who := auth.Actor{Name: "administrator", Role: ledger.Administrator, Scope: fleet.Root}
	ctx, odd := t.Context(), "a/b c?d#e"
	q := client.RolloutQuery{Task: odd, Update: "pkg:deb/debian/g%2B%2B@4:10?arch=source", Only: client.RolloutsWaiting}
	skip := client.RolloutAct{Task: odd, Update: odd, Verb: rollout.VerbSkip, Ring: "Ring ü/1", Reason: "ä\n\""}
	for i, err := range []error{first(c.Rollouts(ctx, q)), first(c.Rollout(ctx, odd, q.Update)), first(c.ActOnRollout(ctx, skip))} {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if diff := cmp.Diff([]string{"Rollouts", "Rollout", "Act"}, w.calls) + cmp.Diff([][]any{{who, q}, {who, odd, q.Update}, {who, skip}}, w.all); diff != "" {
		t.Errorf("they got other arguments (-given +received):\n%s", diff)
	}
}
