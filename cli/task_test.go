package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/server/servertest"
	"assent/wire"
)

// kitchen is a server with the groups that recipes name, a device in each, and updates that some of them take.
type kitchen struct {
	*servertest.World
	*session
}

func newKitchen(t *testing.T) *kitchen {
	t.Helper()
	w := servertest.New(t)
	k := &kitchen{World: w, session: newSession(t, w, w.Operator("ada", ledger.Administrator, fleet.Root), "")}
	for _, group := range []string{"Test", "Pilot", "Production"} {
		w.Group(fleet.GroupID("g-"+strings.ToLower(group)), group, fleet.Root)
		d := w.Device(strings.ToLower(group)+"1", fleet.GroupID("g-"+strings.ToLower(group)))
		for _, name := range []string{"openssl", "linux", "postgresql-15"} {
			d.Has(name, "1.0")
			d.Offer(name, "1.1", func(o *wire.Offer) {
				o.Items[0].Origin, o.Items[0].Security, o.Items[0].Severity = "Debian:bookworm-security", name == "openssl", catalog.Critical
			})
		}
		d.CheckIn()
	}
	k.must(t, "group", "test", "Test")
	return k
}

func (k *kitchen) must(t *testing.T, args ...string) string {
	t.Helper()
	if code := k.do(t, args...); code != 0 {
		t.Fatalf("%v: exit %d, %s", args, code, k.err.String())
	}
	return k.out.String()
}

// at lists what a device would do at a moment.
func (k *kitchen) at(t *testing.T, device, at string) (installs, waits string) {
	t.Helper()
	var p client.PlanAt
	if err := json.Unmarshal([]byte(k.must(t, "plan", "--device", device, "--at", at, "--json")), &p); err != nil {
		t.Fatal(err)
	}
	names := func(all []client.PlanStep) string {
		var out []string
		for _, s := range all {
			out = append(out, s.Name)
		}
		return strings.Join(out, " ")
	}
	return names(p.Installs), names(p.Waits)
}

// TestRecipes saves each recipe on a server with nothing else switched on but what approves, and asks the plans of moments.
func TestT1_EveryRecipeSavesAndDoesWhatItSays(t *testing.T) {
	type moment struct{ device, at, installs, waits string }
	all := "linux openssl postgresql-15"
	later := time.Now().UTC().Add(72 * time.Hour).Format(time.RFC3339)
	recipes := map[string]struct {
		approve bool
		keep    bool // the default task stays on
		moments []moment
	}{
		"security-test": {moments: []moment{{"test1", "", "", ""}, {"test1", later, "openssl", ""}, {"production1", later, "", ""}}},
		"patch-tuesday": {approve: true, keep: true, moments: []moment{
			{"production1", "2027-02-12T02:31:00Z", all, ""}, // Friday after Tuesday the 9th
			{"production1", "2027-02-12T06:00:00Z", "", all}, {"production1", "2027-02-05T03:00:00Z", "", all}, {"pilot1", "2027-02-05T03:00:00Z", all, ""}}},
		"rings": {approve: true, moments: []moment{{"test1", "", "", ""}, {"production1", "", "", ""}}}, // not before the conductor began
		"kernel-quarters": {approve: true, keep: true, moments: []moment{
			{"production1", "2027-04-04T04:00:00Z", all, ""}, {"production1", "2027-05-02T04:00:00Z", "openssl postgresql-15", "linux"}, {"pilot1", "2027-05-02T04:00:00Z", all, ""}}},
		"freeze-december": {approve: true, keep: true, moments: []moment{
			{"production1", "2027-12-17T02:00:00Z", all, ""}, {"production1", "2027-12-18T02:00:00Z", "", all}, {"production1", "2028-01-04T02:00:00Z", "", all}, {"production1", "2028-01-05T02:00:00Z", all, ""}}},
		"laptops":         {approve: true, moments: []moment{{"pilot1", "2027-02-05T13:00:00Z", all, ""}, {"pilot1", "2027-02-05T15:00:00Z", "", all}, {"test1", "2027-02-05T13:00:00Z", "", ""}}},
		"databases":       {approve: true, keep: true, moments: []moment{{"production1", "", "linux openssl", ""}}},
		"exploited-now":   {moments: []moment{{"test1", "", "openssl", ""}, {"production1", "", "", ""}}},
		"weekends-slowly": {approve: true, moments: []moment{{"production1", "2027-02-06T11:30:00Z", all, ""}, {"production1", "2027-02-08T03:00:00Z", "", all}}},
		"no-surprises":    {approve: true, moments: []moment{{"production1", "2027-02-08T23:00:00Z", all, ""}, {"production1", "2027-02-12T23:00:00Z", "", all}}},
		"download-early":  {approve: true, keep: true, moments: []moment{{"production1", "", "", all}, {"pilot1", "", all, ""}}},
		"lab-anything":    {moments: []moment{{"test1", "", all, ""}, {"pilot1", "", "", ""}}},
	}
	var list []struct{ Name, About, Text string }
	if err := json.Unmarshal([]byte(newKitchen(t).must(t, "task", "recipe", "--json")), &list); err != nil || len(list) < 10 {
		t.Fatalf("%d recipes, %v", len(list), err)
	}
	for _, r := range list {
		t.Run(r.Name, func(t *testing.T) {
			want, ok := recipes[r.Name]
			if !ok {
				t.Fatal("nothing is known here of what it does")
			}
			k := newKitchen(t)
			if !want.keep {
				k.must(t, "task", "disable", "default")
			}
			if want.approve {
				k.must(t, "update", "approve", "--all-matching", "--needed", "--yes")
			}
			for _, dry := range []bool{true, false} {
				k.In = strings.NewReader(r.Text)
				args := []string{"task", "create", "-f", "-"}
				if dry {
					args = append(args, "--dry-run")
				}
				if out := k.must(t, args...); !dry && !strings.Contains(out, "Made the task") {
					t.Errorf("it said %q", out)
				}
			}
			for _, m := range want.moments {
				if installs, waits := k.at(t, m.device, m.at); installs != m.installs || waits != m.waits {
					t.Errorf("%s at %q installs %q and waits with %q; want %q and %q", m.device, m.at, installs, waits, m.installs, m.waits)
				}
			}
		})
	}
}
