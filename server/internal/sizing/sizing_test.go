package sizing

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"assent/fault"
)

func fleet(devices int) Fleet {
	return Fleet{Devices: devices, Updates: DefaultUpdates, Interval: DefaultInterval, Installs: DefaultInstalls, Cores: DefaultCores}
}

func TestMeasured_HasEveryConstant(t *testing.T) {
	c, err := Measured()
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s was not measured; run `go run ./bench --constants`", v.Type().Field(i).Name)
		}
	}
}

func TestFor_FiguresFollowFromTheConstants(t *testing.T) {
	c := Constants{CheckIn: 20, Change: 100, Handshake: 700, Resumed: 400, Poll: 40, Devices: 100_000, Updates: 10_000, Memory: 800, Disk: 200, Start: 8}
	e, err := For(fleet(50_000), c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"steady check-ins": 50_000.0 / 60 * 20 / 1e6,
		"reports of installations, spread over the day": 50_000.0 * 2 * 5 / 86400 * 100 / 1e6,
		"all devices connect anew at once":              50_000 * 700 / 1e6 / 2,
		"memory for the fleet":                          64 + 400,
		"memory for long polls, one of each device":     50_000 * 40.0 / 1024,
		"database, as it stands":                        100,
		"database, what a year of reports adds":         50_000 * 10 * 365 * 600.0 / (1 << 20),
		"start to the first correct answer":             2,
	}
	for _, l := range e.Lines {
		if d := l.Value - want[l.What]; d > 1e-9 || d < -1e-9 {
			t.Errorf("%s: %g, want %g (%s)", l.What, l.Value, want[l.What], l.How)
		}
		if l.How == "" || l.Unit == "" {
			t.Errorf("%s does not say how", l.What)
		}
		delete(want, l.What)
	}
	if len(want) > 0 {
		t.Errorf("there is no line for %v", want)
	}
}

func TestFor_MoreUpdatesThanMeasuredNeverTakeLess(t *testing.T) {
	c, err := Measured()
	if err != nil {
		t.Fatal(err)
	}
	few, many := fleet(1000), fleet(1000)
	few.Updates, many.Updates = 100, 40_000
	a, errA := For(few, c)
	b, errB := For(many, c)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	for i := range a.Lines {
		if b.Lines[i].Value < a.Lines[i].Value {
			t.Errorf("%s: %g with more updates, %g with few", a.Lines[i].What, b.Lines[i].Value, a.Lines[i].Value)
		}
	}
}

func TestFor_AdviceFollowsTheSize(t *testing.T) {
	c, err := Measured()
	if err != nil {
		t.Fatal(err)
	}
	for devices, says := range map[int]string{100: "SQLite", 50_000: "PostgreSQL", 1_000_000: "docs/scaling.md"} {
		e, err := For(fleet(devices), c)
		if err != nil || !strings.Contains(strings.Join(e.Advice, " "), says) {
			t.Errorf("%d devices: %v %v", devices, e.Advice, err)
		}
	}
}

func TestFor_RefusesWhatCannotBeWithItsField(t *testing.T) {
	for field, change := range map[string]func(*Fleet){
		"devices":  func(f *Fleet) { f.Devices = 0 },
		"updates":  func(f *Fleet) { f.Updates = -1 },
		"interval": func(f *Fleet) { f.Interval = time.Millisecond },
		"installs": func(f *Fleet) { f.Installs = -1 },
		"cores":    func(f *Fleet) { f.Cores = 0 },
	} {
		f := fleet(10)
		change(&f)
		_, err := For(f, Constants{Devices: 1, Updates: 1})
		if !errors.Is(err, fault.Invalid) || fault.From(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}
