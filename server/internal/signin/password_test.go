package signin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"assent/fault"
	"assent/server/internal/auth"
	"assent/server/internal/store"
)

func TestHash_IsSelfDescribingAndSaltedAnew(t *testing.T) {
	c := Cost{Memory: 64, Time: 2, Lanes: 3}
	one, two := c.hash(secret), c.hash(secret)
	if !strings.HasPrefix(one, "$argon2id$v=19$m=64,t=2,p=3$") || one == two {
		t.Errorf("%s, %s", one, two)
	}
	for _, h := range []string{one, two} {
		if same, old, err := c.compare(secret, h); !same || old || err != nil {
			t.Error(same, old, err)
		}
		if same, _, err := c.compare(secret+"x", h); same || err != nil {
			t.Error("another password has the same hash", err)
		}
		if same, old, err := DefaultCost().compare(secret, h); !same || !old || err != nil {
			t.Error("a hash of another cost:", same, old, err)
		}
	}
	if d := DefaultCost(); d != (Cost{Memory: 65536, Time: 3, Lanes: 4}) {
		t.Errorf("the cost is %+v: change docs/decisions with it", d)
	}
}

func FuzzDecode_TakesOnlyWhatEncodeWrites(f *testing.F) {
	good := Cost{Memory: 64, Time: 1, Lanes: 1}.hash("x")
	for _, s := range []string{good, "", "$argon2id$v=19$m=64,t=1,p=1$$", strings.Replace(good, "m=64", "m=4294967295", 1), strings.Replace(good, "t=1", "t=0", 1), good + "$", strings.Replace(good, "argon2id", "argon2i", 1)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, salt, key, err := decode(text)
		if err != nil {
			return
		}
		if encode(c, salt, key) != text || c.Memory > maxMemory || c.Time > maxTime || c.Lanes == 0 || len(key) > 64 {
			t.Errorf("%q was taken as %+v", text, c)
		}
	})
}

func TestCheckPassword_AsksForLengthAndNotForTheName(t *testing.T) {
	for password, code := range map[string]string{
		"elevenchars": "password_short", "twelve chars": "", strings.Repeat("ä", 12): "", strings.Repeat("ä", 11): "password_short",
		"my name is Ada Lovelace": "password_name", "all in lower case": "", strings.Repeat("x", 1001): "password_long", "nul\x00 in it here": "password_unreadable",
		"not utf-8 \xff at all": "password_unreadable", "a\u0301e\u0301i\u0301o\u0301u\u0301y\u0301": "password_short",
	} {
		if got := fault.From(CheckPassword("ada", password)); got == nil && code != "" || got != nil && got.Code != code {
			t.Errorf("%q: %v, want %q", password, got, code)
		}
	}
	if err := CheckPassword("al", "all is well that ends"); err != nil {
		t.Errorf("a name of two letters stands in many words: %v", err)
	}
}

func TestPassword_LetsInWhoHasItHoweverItIsTyped(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.SetPassword(t.Context(), w.actor("ada"), "ada", "  caf\u00e9 with spaces ", ""); err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{"  caf\u00e9 with spaces ": true, "  cafe\u0301 with spaces ": true, "caf\u00e9 with spaces": false, "": false, strings.Repeat("x", 5000): false} {
		p, err := w.WithPassword(t.Context(), "ada", password, here)
		if (err == nil) != want || want && (p.Name != "ada" || p.Means != ByPassword || p.Access != "") {
			t.Errorf("%q: %+v %v", password, p, err)
		}
	}
}

func TestPassword_AChangeEndsTheOtherSessionsAndIsOneActWithoutTheSecret(t *testing.T) {
	w := newWorld(t, nil)
	w.password("ada")
	mine, one := w.enter("ada")
	other, _ := w.enter("ada")
	before := w.last().Seq
	if _, err := w.SetPassword(t.Context(), w.actor("ada"), "ada", "quite another passphrase", one.Key); err != nil {
		t.Fatal(err)
	}
	e := w.last()
	if e.Seq != before+1 || e.Kind != "password.set" || e.By != "ada" || string(e.Body) != `{"operator":"ada"}` {
		t.Errorf("the entry is %+v %s", e, e.Body)
	}
	if !w.in(mine) || w.in(other) {
		t.Error("the wrong sessions ended")
	}
	if _, err := w.WithPassword(t.Context(), "ada", secret, here); !errors.Is(err, errRefused) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := w.RemovePassword(t.Context(), w.actor("ada"), "ada", one.Key); err != nil || w.last().Kind != "password.remove" {
		t.Fatal(err)
	}
	if _, err := w.WithPassword(t.Context(), "ada", "quite another passphrase", here); !errors.Is(err, errRefused) {
		t.Errorf("the removed password: %v", err)
	}
	if _, err := w.RemovePassword(t.Context(), w.actor("ada"), "ada", ""); !errors.Is(err, fault.NotFound) || w.last().Seq != before+2 {
		t.Errorf("removed twice: %v", err)
	}
}

func TestPassword_IsHashedAnewWhenTheCostChanges(t *testing.T) {
	w := newWorld(t, nil)
	w.password("ada")
	w.Cost = Cost{Memory: 128, Time: 2, Lanes: 1}
	w.enter("ada")
	kept, _, err := w.db.Password(t.Context(), "ada")
	if err != nil || !strings.Contains(kept.Hash, "$m=128,t=2,p=1$") {
		t.Errorf("%s %v", kept.Hash, err)
	}
	w.enter("ada")
	if again, _, _ := w.db.Password(t.Context(), "ada"); again != kept {
		t.Error("hashed anew without a reason")
	}
}

// TestN22_AWrongNameCostsWhatAWrongPasswordCosts compares medians: without the work for a wrong name it would take a
// thousandth.
func TestN22_AWrongNameCostsWhatAWrongPasswordCosts(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Cost = Cost{Memory: 8 << 10, Time: 3, Lanes: 1}
		c.Name.Burst, c.Address.Burst = 1000, 1000
	})
	w.password("ada")
	names := []string{"ada", "nobody", "eve", ""} // known, unknown, without a password, none
	took := map[string][]time.Duration{}
	for range 9 { // in turns, so that a busy machine is busy for all of them
		for _, name := range names {
			start := time.Now()
			if _, err := w.WithPassword(t.Context(), name, "wrong password", here); !errors.Is(err, errRefused) {
				t.Fatal(err)
			}
			took[name] = append(took[name], time.Since(start))
		}
	}
	median := func(name string) time.Duration { slices.Sort(took[name]); return took[name][4] }
	for _, name := range names[1:] {
		if known, other := median("ada"), median(name); other < known/8 {
			t.Errorf("a wrong password takes %v, the name %q %v", known, name, other)
		}
	}
}

// TestN22_GuessingIsLimitedByNameAndByAddressAndRecovers: known and unknown names answer alike at every step.
func TestN22_GuessingIsLimitedByNameAndByAddressAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := alone(t, memory{all: map[string]store.Session{}})
		try := func(name, remote string) string {
			_, err := s.WithPassword(t.Context(), name, "wrong", remote)
			if wait, ok := auth.RetryAfter(err); ok {
				return fault.From(err).Code + " " + time.Duration(wait*int(time.Second)).String()
			}
			return fault.From(err).Code
		}
		for _, name := range []string{"ada", "nobody"} {
			var got []string
			for i := range 12 {
				got = append(got, try(name, "192.0.2."+string(rune('1'+i%9))+":1"))
			}
			if n := strings.Count(strings.Join(got, ","), "sign_in_refused"); n != 10 || got[11] != "too_many_attempts 30s" {
				t.Errorf("%s: %v", name, got)
			}
		}
		time.Sleep(31 * time.Second)
		for _, name := range []string{"ada", "nobody"} {
			if got := []string{try(name, "198.51.100.1:1"), try(name, "198.51.100.1:1")}; got[0] != "sign_in_refused" || got[1] == got[0] {
				t.Errorf("%s after half a minute: %v", name, got)
			}
		}
		time.Sleep(time.Hour)
		var got []string
		for i := range 25 {
			got = append(got, try("name"+string(rune('a'+i)), "203.0.113.9:7"))
		}
		if n := strings.Count(strings.Join(got, ","), "sign_in_refused"); n != 20 || got[24] != "too_many_attempts 3s" {
			t.Errorf("one address, many names: %v", got)
		}
		time.Sleep(3 * time.Second)
		if got := try("other", "203.0.113.9:8"); got != "sign_in_refused" {
			t.Errorf("after a pause: %s", got)
		}
	})
}

func TestPassword_ARightOneIsNoFailure(t *testing.T) {
	w := newWorld(t, nil)
	w.password("ada")
	for range 50 {
		if _, err := w.WithPassword(t.Context(), "ada", secret, here); err != nil {
			t.Fatal(err)
		}
	}
	if w.seen[ByPassword][Refused]+w.seen[ByPassword][Limited] != 0 {
		t.Error(w.seen)
	}
}

func TestPassword_OnlyAFewHashesAreComputedAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := alone(t, memory{all: map[string]store.Session{}})
		for range hashes {
			if _, err := s.place(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		if _, err := s.WithPassword(t.Context(), "ada", "x", here); !errors.Is(err, errBusy) || time.Since(start) != hashWait {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.WithPassword(ctx, "ada", "x", here); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
