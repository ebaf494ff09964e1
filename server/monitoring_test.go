package server

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const deployed = "../deploy"

// metricName finds the names of metrics in expressions.
var metricName = regexp.MustCompile(`\b(?:assent|process|go)_[a-z0-9_]+`)

// shown are the names of the metrics that a new server shows, with what each histogram is made of.
func (l *live) shown() map[string]bool {
	l.t.Helper()
	resp, err := http.Get("http://" + l.api + "/metrics")
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	out := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			out[metricName.FindString(line)] = true
		}
	}
	return out
}

// expressions are all that the dashboard and the alerts ask for.
func expressions(t *testing.T) map[string][]string {
	t.Helper()
	var board struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	data, err := os.ReadFile(filepath.Join(deployed, "grafana/assent.json"))
	if err == nil {
		err = json.Unmarshal(data, &board)
	}
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			out["the dashboard"] = append(out["the dashboard"], target.Expr)
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Expr string }
		}
	}
	if data, err = os.ReadFile(filepath.Join(deployed, "prometheus/assent.rules.yml")); err == nil {
		err = yaml.Unmarshal(data, &rules)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			out["the alerts"] = append(out["the alerts"], r.Expr)
		}
	}
	return out
}

func TestMonitoring_EveryMetricOfTheDashboardAndTheAlertsExistsFromTheStart(t *testing.T) {
	l := start(t, t.TempDir(), nil)
	if code := l.call(http.MethodGet, "/api/v1/status", l.admin(), nil, nil); code != 200 { // so that the API's times are there
		t.Fatalf("status: %d", code)
	}
	shown := l.shown()
	for where, all := range expressions(t) {
		names := 0
		for _, expr := range all {
			for _, name := range metricName.FindAllString(expr, -1) {
				names++
				if !shown[name] {
					t.Errorf("%s asks for %s, which the server does not show: %s", where, name, expr)
				}
			}
		}
		if names < 10 {
			t.Errorf("%s names %d metrics only: it was not read", where, names)
		}
	}
}

func TestMonitoring_PromtoolAcceptsTheAlertsAndTheirTests(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "assent.rules.yml"}, {"test", "rules", "assent.rules_test.yml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = filepath.Join(deployed, "prometheus")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v (scripts/setup.sh installs it)\n%s", strings.Join(args, " "), err, out)
		}
	}
}
