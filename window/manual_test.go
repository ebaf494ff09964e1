package window_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/window"
)

// The manual's rules open on the days that it says: the first three from 2027-01-12 on, a Tuesday, at 02:00.
func TestT4_TheRulesOfTheManualMeanWhatItSays(t *testing.T) {
	manual, err := os.ReadFile("../docs/tasks.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"FREQ=DAILY":                                            {"Tue 01-12 02", "Wed 01-13 02", "Thu 01-14 02"},
		"FREQ=WEEKLY;BYDAY=SA,SU":                               {"Sat 01-16 02", "Sun 01-17 02", "Sat 01-23 02"},
		"FREQ=WEEKLY;INTERVAL=2;BYDAY=TU":                       {"Tue 01-12 02", "Tue 01-26 02", "Tue 02-09 02"},
		"FREQ=MONTHLY;BYDAY=2TU":                                {"Tue 01-12 02", "Tue 02-09 02", "Tue 03-09 02"},
		"FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=11,12,13,14,15,16,17": {"Fri 01-15 02", "Fri 02-12 02", "Fri 03-12 02"},
		"FREQ=MONTHLY;BYDAY=-1FR":                               {"Fri 01-29 02", "Fri 02-26 02", "Fri 03-26 02"},
		"FREQ=MONTHLY;INTERVAL=3;BYDAY=1SU":                     {"Sun 04-04 02", "Sun 07-04 02", "Sun 10-03 02"},
		"FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1":         {"Fri 01-29 02", "Fri 02-26 02", "Wed 03-31 02"},
		"FREQ=HOURLY;INTERVAL=6":                                {"Tue 01-12 02", "Tue 01-12 08", "Tue 01-12 14"},
	}
	got := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\|.*`(FREQ=[^`]+)`").FindAllSubmatch(manual, -1) {
		s := window.Schedule{Rule: string(row[1]), Start: "2027-01-12T02:00", Length: window.Duration(time.Hour)}
		for _, n := range parse(t, s).Next(at(t, "2027-01-12T01:00:00Z"), window.UTC(), 3) {
			got[s.Rule] = append(got[s.Rule], n.Start.Format("Mon 01-02 15"))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-meant +manual)\n%s", diff)
	}
	_, example, _ := strings.Cut(string(manual), "\n    {\n")
	example, _, _ = strings.Cut(example, "\n    }\n")
	s, err := window.Decode([]byte("{" + example + "}"))
	if err != nil {
		t.Fatal(err)
	}
	if text := parse(t, s).Describe(); text != "the second Tuesday of every month at 02:00, for 4 h, device time; devices start within 30 min; not from 12-18 to 01-04 every year (Year's end)" {
		t.Errorf("the example is %q", text)
	}
	if p, ok := (window.Schedule{Rule: "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=11,12,13,14,15,16,17", Start: "2027-01-12T02:00"}).Simple(); !ok || p.Nth != 2 || p.After != 3 || p.Days[0] != "TU" {
		t.Errorf("patch Tuesday plus 3 is read as %+v", p)
	}
}
