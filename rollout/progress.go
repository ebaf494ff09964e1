package rollout

import "fmt"

// Progress counts the devices of a ring by their standing. The nine numbers from Succeeded to Forgiven add up to it.
type Progress struct {
	Devices       int `json:"devices"` // in the ring, and those that are counted there though they have moved on
	Succeeded     int `json:"succeeded"`
	Failed        int `json:"failed"`
	Silent        int `json:"silent"`
	Pending       int `json:"pending"`
	Blocked       int `json:"blocked"`
	NotApplicable int `json:"not_applicable"`
	Elsewise      int `json:"by_other_means"`
	Gone          int `json:"gone"`
	Forgiven      int `json:"forgiven"`
	Overdue       int `json:"overdue"` // of the pending: should have begun by now
	Sample        int `json:"sample"`  // devices that must have an outcome
}

// Counted is the size of the sample there is.
func (p Progress) Counted() int { return p.Succeeded + p.Failed + p.Silent }

// Failures is what counts as failed: failed and silent devices.
func (p Progress) Failures() int { return p.Failed + p.Silent }

// Takers is the number of devices that could take the update: what a ring is measured against.
func (p Progress) Takers() int { return p.Counted() + p.Pending + p.Blocked }

// Rate is the success rate for people: "8 of 10", never a percentage, and of nothing "no outcome yet".
func (p Progress) Rate() string {
	if p.Counted() == 0 {
		return "no outcome yet"
	}
	return fmt.Sprintf("%d of %d", p.Succeeded, p.Counted())
}

// String is one line for lists.
func (p Progress) String() string {
	if p.Counted() == 0 {
		return fmt.Sprintf("no outcome yet, %d pending, %d blocked", p.Pending, p.Blocked)
	}
	return fmt.Sprintf("%s succeeded, %d failed, %d silent, %d pending, %d blocked", p.Rate(), p.Failed, p.Silent, p.Pending, p.Blocked)
}

func (p *Progress) add(s Standing) {
	p.Devices++
	switch s {
	case Succeeded:
		p.Succeeded++
	case Failed:
		p.Failed++
	case Silent:
		p.Silent++
	case Blocked:
		p.Blocked++
	case NotApplicable:
		p.NotApplicable++
	case Elsewise:
		p.Elsewise++
	case Gone:
		p.Gone++
	case Forgiven:
		p.Forgiven++
	default:
		p.Pending++
	}
}

// sample is how many devices must have an outcome in a ring: what it asks for, at most all that could take the update.
func (p Progress) sample(r Ring) int {
	if r.MinSample == 0 {
		return p.Takers()
	}
	return min(r.MinSample, p.Takers())
}

// met reports whether the success rate of the ring is met by what is counted. Nothing meets no rate.
func (p Progress) met(r Ring) bool {
	return p.Counted() > 0 && p.Succeeded > 0 && p.Succeeded*1000 >= r.SuccessRate*p.Counted()
}

// failing says why a ring fails by these numbers; an empty code if it does not.
func (p Progress) failing(r Ring) Reason {
	failures := p.Failures()
	switch {
	case r.Failures > 0 && failures >= r.Failures:
		return Reason{FailureLimit, fmt.Sprintf("%s failed%s; the limit of the ring is %d.", count(failures), p.mute(), r.Failures)}
	case r.FailureRate > 0 && failures*1000 > r.FailureRate*p.Takers():
		return Reason{FailureRate, fmt.Sprintf("%d of the ring's %s failed%s; it allows %d in a thousand.", failures, count(p.Takers()), p.mute(), r.FailureRate)}
	case p.Counted() > 0 && !p.met(r) && (p.Counted() >= p.sample(r) || p.hopeless(r)):
		return Reason{RateMissed, fmt.Sprintf("Only %s succeeded%s; the ring asks for %d in a thousand.", p.Rate(), p.mute(), r.SuccessRate)}
	}
	return Reason{}
}

// hopeless reports whether the rate is missed even if every device without an outcome succeeds.
func (p Progress) hopeless(r Ring) bool {
	return (p.Takers()-p.Failures())*1000 < r.SuccessRate*p.Takers()
}

// wanting says what the sample still lacks.
func (p Progress) wanting() Reason {
	has := fmt.Sprintf("%d of the %s that must have an outcome have one", p.Counted(), count(p.Sample))
	switch {
	case p.Pending == 0:
		return Reason{SampleBlocked, fmt.Sprintf("%s, and all others are blocked: %s.", has, p)}
	case p.Pending == p.Overdue:
		return Reason{SampleOverdue, fmt.Sprintf("%s, and all others should have begun by now: %s.", has, p)}
	}
	return Reason{SampleWanting, fmt.Sprintf("%s: %s.", has, p)}
}

// mute names the part of the failures that is silence.
func (p Progress) mute() string {
	if p.Silent == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d of them silent)", p.Silent)
}

// count is a number of devices in words.
func count(n int) string {
	if n == 1 {
		return "1 device"
	}
	return fmt.Sprintf("%d devices", n)
}
