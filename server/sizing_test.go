package server

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestSizing_ShowsTheArithmeticAndTouchesNoServer(t *testing.T) {
	out, err := run(t, "sizing", "--devices", "20000")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"steady check-ins", "20000 devices / 1m0s = 333 check-ins/s", "GiB of memory", "LimitNOFILE", "Measured on:"} {
		if !strings.Contains(out, part) {
			t.Errorf("it does not say %q:\n%s", part, out)
		}
	}
	out, err = run(t, "sizing", "--devices", "500", "--json")
	var e struct {
		Lines []struct{ What string }
	}
	if err != nil || json.Unmarshal([]byte(out), &e) != nil || len(e.Lines) < 6 {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := run(t, "sizing"); err == nil || !strings.Contains(err.Error(), "devices") {
		t.Errorf("without devices: %v", err)
	}
}
