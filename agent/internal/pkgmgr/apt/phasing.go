package apt

import "math"

// notPhased is the percentage of a version that every device gets.
const notPhased = 100

// phasing says who of all devices a phased version is for. The choice is apt's own: a random number seeded with
// the source release and the machine-id, so that a device stays on its side of the line.
type phasing struct {
	machineID string
	always    bool // APT::Get::Always-Include-Phased-Updates
	never     bool
	inPolicy  bool // an apt before 2.5 or Phase-Policy: a version that is not for this device is no candidate
}

func newPhasing(c aptConfig, machineID string, aptVersion string) phasing {
	first := func(names ...string) bool {
		for _, n := range names {
			if v, ok := aptBool(c.find(n)); ok {
				return v
			}
		}
		return false
	}
	return phasing{
		machineID: machineID,
		always:    first("APT::Get::Always-Include-Phased-Updates", "Update-Manager::Always-Include-Phased-Updates"),
		never:     first("APT::Get::Never-Include-Phased-Updates", "Update-Manager::Never-Include-Phased-Updates"),
		inPolicy:  c.isTrue("APT::Get::Phase-Policy") || olderThan(aptVersion, "2.5.0"),
	}
}

// excludes says that apt would not offer the version to this device by itself.
func (p phasing) excludes(v *version) bool {
	if v.Phased >= notPhased || p.always {
		return false
	}
	if p.never {
		return true
	}
	if p.machineID == "" {
		return false
	}
	return phaseOf(v.Source, v.SourceVersion, p.machineID) > uint32(v.Phased)
}

// ceiling is the highest priority that phasing leaves a version.
func (p phasing) ceiling(v *version) int {
	if p.inPolicy && p.excludes(v) {
		return 1
	}
	return math.MaxInt32
}

// phaseOf is the number from 0 to 100 that apt draws: std::seed_seq over the bytes of the text,
// std::minstd_rand, and GNU's std::uniform_int_distribution.
func phaseOf(source, sourceVersion, machineID string) uint32 {
	const (
		modulus = 1<<31 - 1
		span    = 101
		scaling = (modulus - 2) / span
	)
	x := seedMinstd([]byte(source + "-" + sourceVersion + "-" + machineID))
	for {
		x = x * 48271 % modulus
		if ret := x - 1; ret < span*scaling {
			return uint32(ret / scaling)
		}
	}
}

// seedMinstd is the generator's seed from a seed sequence: the fourth of its words.
func seedMinstd(text []byte) uint64 {
	const modulus = 1<<31 - 1
	words := seedSeq(text, 4)
	if x := uint64(words[3]) % modulus; x != 0 {
		return x
	}
	return 1
}

// seedSeq is std::seed_seq::generate for n words (C++ standard, [rand.util.seedseq]). The bytes are signed, as
// char is where apt was first built.
func seedSeq(text []byte, n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = 0x8b8b8b8b
	}
	s := len(text)
	t := lag(n)
	p := (n - t) / 2
	q := p + t
	m := max(s+1, n)
	mix := func(x uint32) uint32 { return x ^ x>>27 }
	for k := range m {
		r1 := 1664525 * mix(out[k%n]^out[(k+p)%n]^out[(k+n-1)%n])
		r2 := r1
		switch {
		case k == 0:
			r2 += uint32(s)
		case k <= s:
			r2 += uint32(k%n) + uint32(int32(int8(text[k-1])))
		default:
			r2 += uint32(k % n)
		}
		out[(k+p)%n] += r1
		out[(k+q)%n] += r2
		out[k%n] = r2
	}
	for k := m; k < m+n; k++ {
		r3 := 1566083941 * mix(out[k%n]+out[(k+p)%n]+out[(k+n-1)%n])
		r4 := r3 - uint32(k%n)
		out[(k+p)%n] ^= r3
		out[(k+q)%n] ^= r4
		out[k%n] = r4
	}
	return out
}

func lag(n int) int {
	switch {
	case n >= 623:
		return 11
	case n >= 68:
		return 7
	case n >= 39:
		return 5
	case n >= 7:
		return 3
	}
	return (n - 1) / 2
}
