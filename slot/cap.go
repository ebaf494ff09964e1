package slot

import (
	"fmt"
	"strconv"
	"strings"
)

// Cap is how many devices a task lets be at an installation or a restart at the same time. The zero value is no cap; of two
// figures the smaller counts.
type Cap struct {
	Devices  int `json:"devices,omitempty"`
	PerMille int `json:"per_mille,omitempty"` // of the active devices that the task covers, rounded down, but at least one
}

// None reports whether there is no cap.
func (c Cap) None() bool { return c == Cap{} }

// Valid reports whether the figures are within their bounds.
func (c Cap) Valid() bool {
	return c.Devices >= 0 && c.Devices <= 1_000_000 && c.PerMille >= 0 && c.PerMille <= 1000
}

// Of is how many devices that is of so many that the task covers. It must only be asked where there is a cap.
func (c Cap) Of(covered int) int {
	n := covered
	if c.PerMille > 0 {
		n = max(1, covered*c.PerMille/1000)
	}
	if c.Devices > 0 && (c.PerMille == 0 || c.Devices < n) {
		n = c.Devices
	}
	return n
}

// String is the cap as Parse reads it: "10", "5%", "10 or 5%".
func (c Cap) String() string {
	var out []string
	if c.Devices > 0 {
		out = append(out, strconv.Itoa(c.Devices))
	}
	if c.PerMille > 0 {
		out = append(out, strings.TrimSuffix(strconv.FormatFloat(float64(c.PerMille)/10, 'f', 1, 64), ".0")+"%")
	}
	return strings.Join(out, " or ")
}

// Words says the cap to people: "at most 10 devices or 5% of them".
func (c Cap) Words() string {
	words := "at most " + c.String()
	if c.PerMille > 0 {
		return words + " of its devices"
	}
	if c.Devices == 1 {
		return words + " device"
	}
	return words + " devices"
}

// Parse reads "10", "5%" or "10 or 5%"; an empty text is no cap.
func Parse(s string) (Cap, error) {
	var c Cap
	for part := range strings.SplitSeq(s, " or ") {
		part = strings.TrimSpace(part)
		percent, isPercent := strings.CutSuffix(part, "%")
		switch {
		case part == "" && c.None():
		case isPercent:
			f, err := strconv.ParseFloat(strings.TrimSpace(percent), 64)
			if err != nil || f < 0.1 || f > 100 {
				return Cap{}, fmt.Errorf("%.40q is no part between 0.1%% and 100%%", part)
			}
			c.PerMille = int(f*10 + 0.5)
		default:
			n, err := strconv.Atoi(part)
			if err != nil || n < 1 {
				return Cap{}, fmt.Errorf("%.40q is neither a number of devices nor a percentage", part)
			}
			c.Devices = n
		}
	}
	if !c.Valid() {
		return Cap{}, fmt.Errorf("%.40q is out of bounds", s)
	}
	return c, nil
}
