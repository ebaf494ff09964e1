// Package ledgertest makes random acts for the tests of everything that keeps or applies ledgers.
//
// Acts covers every kind of act with few names, so that acts meet, with names and texts that break careless
// code (NUL, bytes that are not UTF-8, control characters, thousands of characters). Many of the acts
// are refused in the state they meet, which is meant: a refusal must change nothing.
package ledgertest

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/ledger"
	"assent/rollout"
	"assent/task"
)

// Start is the time of the first entry of a random ledger.
func Start() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 123000, time.UTC) }

// Acts generates n acts that begin a ledger: its start, an administrator, then anything.
func Acts(n int) *rapid.Generator[[]ledger.Body] {
	return rapid.Custom(func(t *rapid.T) []ledger.Body {
		out := []ledger.Body{
			ledger.ServerInit{Org: "org", CA: "ca", PlanKey: "key"},
			ledger.OperatorSet{Operator: ledger.Operator{Name: "root", Role: ledger.Administrator, Scope: fleet.Root}},
		}
		return append(out, rapid.SliceOfN(Act(), n-len(out), n-len(out)).Draw(t, "acts")...)
	})
}

// Run applies acts, one entry a minute, and calls each with every entry that was not refused and the state
// after it, which it may not keep. It returns the state at the end.
func Run(acts []ledger.Body, each func(ledger.Entry, *ledger.State) error) (*ledger.State, error) {
	s := ledger.NewState()
	for i, act := range acts {
		e, err := ledger.Make(s.Seq+1, Start().Add(time.Duration(i)*time.Minute), "op\x00"+fmt.Sprint(i%3)+"\xff", act)
		if err != nil {
			return nil, err
		}
		if err := s.Apply(e); err != nil {
			continue
		}
		if err := each(e, s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Text generates text as a hostile device or a careless person sends it.
func Text() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "because", "a\x00b", "\x00", `\`, `\x41`, "'; DROP TABLE decisions; --", "$1 ? :rows %s",
		"<script>alert(1)</script>", "line\r\nfeed\x1b[31m", "\u202egpj.exe\u2028", "\xff\xfe\xc0", "=cmd()", strings.Repeat("long \u00e9", 1500)})
}

// names generates one of a few names that begin alike; two of them are hostile.
func names(prefix string) *rapid.Generator[string] {
	return rapid.SampledFrom([]string{prefix + "1", prefix + "2", prefix + "3", prefix + "\x00", prefix + strings.Repeat("n", 5000)})
}

func group() *rapid.Generator[fleet.GroupID] {
	return rapid.OneOf(rapid.Just(fleet.Root), rapid.Map(names("g"), func(s string) fleet.GroupID { return fleet.GroupID(s) }))
}

func device() *rapid.Generator[fleet.DeviceID] {
	return rapid.Map(names("d"), func(s string) fleet.DeviceID { return fleet.DeviceID(s) })
}

func devices() *rapid.Generator[[]fleet.DeviceID] { return rapid.SliceOfN(device(), 1, 3) }

func act() *rapid.Generator[int64] { return rapid.Int64Range(1, 40) }

func moment() *rapid.Generator[time.Time] {
	return rapid.Map(rapid.IntRange(-60, 600), func(minutes int) time.Time { return Start().Add(time.Duration(minutes) * time.Minute) })
}

func release() *rapid.Generator[catalog.Release] {
	return rapid.Map(rapid.IntRange(0, 11), func(n int) catalog.Release {
		return catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: fmt.Sprintf("pkg%d\x00", n/3)}, Version: fmt.Sprintf("1.%d-1", n%3)}
	})
}

func decided(t *rapid.T) []ledger.Decided {
	return rapid.SliceOfN(rapid.Map(release(), func(r catalog.Release) ledger.Decided {
		return ledger.Decided{Update: r.ID(), Release: r, Rev: 1, Digest: strings.Repeat("d", 64)}
	}), 1, 6).Draw(t, "updates")
}

// Act generates one act of any kind.
func Act() *rapid.Generator[ledger.Body] {
	return rapid.Custom(func(t *rapid.T) ledger.Body {
		make := rapid.SampledFrom(makers()).Draw(t, "kind")
		return make(t)
	})
}

// makers has one line for each kind; kinds that make things which others need stand more than once.
func makers() []func(*rapid.T) ledger.Body {
	return []func(*rapid.T) ledger.Body{
		makeGroup, makeGroup, changeGroup,
		func(t *rapid.T) ledger.Body { return ledger.GroupDelete{ID: group().Draw(t, "id")} },
		makeToken, makeToken, enrol, enrol, enrol,
		func(t *rapid.T) ledger.Body { return ledger.TokenRevoke{ID: names("t").Draw(t, "id")} },
		func(t *rapid.T) ledger.Body {
			return ledger.DeviceRenew{ID: device().Draw(t, "id"), Key: Text().Draw(t, "key")}
		},
		func(t *rapid.T) ledger.Body {
			return ledger.DeviceMove{IDs: devices().Draw(t, "ids"), Group: group().Draw(t, "group")}
		},
		func(t *rapid.T) ledger.Body {
			state := rapid.SampledFrom([]fleet.DeviceState{fleet.Active, fleet.Quarantined, fleet.Retired, "odd"}).Draw(t, "state")
			return ledger.DeviceState{IDs: devices().Draw(t, "ids"), State: state, Reason: Text().Draw(t, "reason")}
		},
		decide, decide, decide, decide,
		func(t *rapid.T) ledger.Body {
			return ledger.ExceptionAdd{Decline: act().Draw(t, "decline"), Update: release().Draw(t, "release").ID(),
				Scope: group().Draw(t, "scope"), Reason: Text().Draw(t, "reason"), Expires: moment().Draw(t, "expires")}
		},
		func(t *rapid.T) ledger.Body { return ledger.ExceptionRemove{Exception: act().Draw(t, "act")} },
		func(t *rapid.T) ledger.Body {
			return ledger.UpdateRollback{Update: release().Draw(t, "release").ID(), Scope: group().Draw(t, "scope"),
				Devices: devices().Draw(t, "devices"), Reason: Text().Draw(t, "reason")}
		},
		setOperator, setOperator,
		func(t *rapid.T) ledger.Body { return ledger.OperatorRemove{Name: names("o").Draw(t, "name")} },
		makeAccess, makeAccess,
		func(t *rapid.T) ledger.Body { return ledger.AccessRevoke{ID: names("a").Draw(t, "id")} },
		func(t *rapid.T) ledger.Body { return ledger.ServerInit{Org: Text().Draw(t, "org")} },
		subscribe, subscribe,
		func(t *rapid.T) ledger.Body { return ledger.FeedUnsubscribe{ID: names("f").Draw(t, "id")} },
		func(t *rapid.T) ledger.Body {
			return ledger.AgreementAccept{Update: release().Draw(t, "release").ID(), Accepts: accepts(t)}
		},
		func(t *rapid.T) ledger.Body { return ledger.AgreementWithdraw{Digest: names("a").Draw(t, "digest")} },
		deploy, deploy,
		func(t *rapid.T) ledger.Body { return ledger.DeployEnd{Deploy: act().Draw(t, "deploy")} },
		makePackage, makePackage,
		makeChannel, makeChannel,
		func(t *rapid.T) ledger.Body { return ledger.ChannelRemove{ID: names("c").Draw(t, "id")} },
		func(t *rapid.T) ledger.Body { return ledger.ChannelTest{ID: names("c").Draw(t, "id")} },
		signIn, signIn,
		setTask, setTask, stepRollout,
		func(t *rapid.T) ledger.Body { return ledger.TaskRemove{ID: names("k").Draw(t, "id")} },
		func(t *rapid.T) ledger.Body {
			return ledger.ViewShare{View: ledger.View{ID: names("v").Draw(t, "id"), List: rapid.SampledFrom([]string{"updates", "queue"}).Draw(t, "list"), Name: names("n").Draw(t, "name"), Query: Text().Draw(t, "query")}}
		},
		func(t *rapid.T) ledger.Body { return ledger.ViewRemove{ID: names("v").Draw(t, "id")} },
		func(t *rapid.T) ledger.Body { return ledger.PackageDelete{ID: names("p").Draw(t, "id")} },
		func(t *rapid.T) ledger.Body {
			r := release().Draw(t, "release")
			return ledger.ContentVerify{Update: r.ID(), Release: r, Passed: rapid.Bool().Draw(t, "passed"), Devices: devices().Draw(t, "devices"), Reason: Text().Draw(t, "reason")}
		},
	}
}

// setTask generates a task that can be saved as long as its groups are there.
func setTask(t *rapid.T) ledger.Body {
	id := rapid.OneOf(names("k"), rapid.Just(task.DefaultID)).Draw(t, "id")
	return ledger.TaskSet{Task: task.Task{ID: id, Name: "Task " + id, Enabled: rapid.Bool().Draw(t, "enabled"),
		Targets: task.Targets{Groups: []fleet.GroupID{group().Draw(t, "target")}}, Rules: []task.Rule{{Admits: task.Approved}},
		Options: task.Options{NewDependencies: rapid.Bool().Draw(t, "dependencies")}}}
}

func stepRollout(t *rapid.T) ledger.Body {
	r := release().Draw(t, "release")
	return ledger.RolloutStep{Task: names("k").Draw(t, "task"), Update: r.ID(), Release: r, Verb: rapid.SampledFrom([]rollout.Verb{"", rollout.VerbHalt}).Draw(t, "verb"),
		Transitions: []rollout.Transition{{Task: "k", Update: r.ID(), Ring: "Test", From: rollout.Waiting, To: rollout.Running, At: moment().Draw(t, "at")}}}
}

// signIn generates an act on what an operator signs in with.
func signIn(t *rapid.T) ledger.Body {
	operator := rapid.OneOf(names("o"), rapid.Just("root")).Draw(t, "operator")
	return rapid.SampledFrom([]ledger.Body{ledger.PasswordSet{Operator: operator}, ledger.PasswordRemove{Operator: operator},
		ledger.PasskeyAdd{Operator: operator, ID: "k1", Name: Text().Draw(t, "name")}, ledger.PasskeyRemove{Operator: operator, ID: "k1"},
		ledger.SessionEnd{Operator: operator}}).Draw(t, "act")
}

func subscribe(t *rapid.T) ledger.Body {
	return ledger.FeedSubscribe{Feed: ledger.Feed{ID: names("f").Draw(t, "id"), URL: Text().Draw(t, "url"), Root: []byte(rapid.SampledFrom([]string{"root", "other"}).Draw(t, "root"))}}
}

func accepts(t *rapid.T) []ledger.Accepted {
	return rapid.SliceOfN(rapid.Map(names("a"), func(s string) ledger.Accepted { return ledger.Accepted{ID: "eula", Title: s, Digest: s} }), 0, 3).Draw(t, "accepts")
}

func deploy(t *rapid.T) ledger.Body {
	r := release().Draw(t, "release")
	d := ledger.UpdateDeploy{Update: r.ID(), Release: r, Reason: Text().Draw(t, "reason")}
	if rapid.Bool().Draw(t, "named") {
		d.Devices = devices().Draw(t, "devices")
	} else {
		d.Scope = group().Draw(t, "scope")
	}
	return d
}

func makePackage(t *rapid.T) ledger.Body {
	r := release().Draw(t, "release")
	return ledger.PackageCreate{Package: ledger.Package{ID: names("p").Draw(t, "id"), Name: Text().Draw(t, "name"), Update: r.ID(), Release: r, Group: group().Draw(t, "group")}}
}

func makeChannel(t *rapid.T) ledger.Body {
	kind := rapid.SampledFrom([]ledger.ChannelKind{ledger.Webhook, ledger.Mail, ledger.Chat, "pigeon"}).Draw(t, "kind")
	return ledger.ChannelSet{Channel: ledger.Channel{ID: names("c").Draw(t, "id"), Name: names("name").Draw(t, "name"), Kind: kind, Address: Text().Draw(t, "address"),
		Events: []string{"halt"}, Group: group().Draw(t, "group")}}
}

func makeGroup(t *rapid.T) ledger.Body {
	id := group().Draw(t, "id")
	return ledger.GroupCreate{Group: fleet.Group{ID: id, Name: "Group " + string(id) + Text().Draw(t, "name"), Parent: group().Draw(t, "parent")}}
}

func changeGroup(t *rapid.T) ledger.Body {
	g := fleet.Group{ID: group().Draw(t, "id"), Name: names("Name ").Draw(t, "name")}
	g.Guard = rapid.SampledFrom([]fleet.GuardMode{fleet.Inherit, fleet.Observe, fleet.ApprovedOnly, "odd"}).Draw(t, "guard")
	if g.ID != fleet.Root {
		g.Parent = group().Draw(t, "parent")
	}
	return ledger.GroupChange{Group: g}
}

func makeToken(t *rapid.T) ledger.Body {
	return ledger.TokenCreate{ID: names("t").Draw(t, "id"), Secret: "hash", Group: group().Draw(t, "group"),
		Uses: rapid.IntRange(1, 3).Draw(t, "uses"), Expires: moment().Draw(t, "expires"), Note: Text().Draw(t, "note")}
}

func enrol(t *rapid.T) ledger.Body {
	return ledger.DeviceEnrol{Token: names("t").Draw(t, "token"), Device: fleet.Device{ID: device().Draw(t, "id"),
		Name: Text().Draw(t, "name"), Group: group().Draw(t, "group"), State: fleet.Active, Key: "key", EnrolledAt: moment().Draw(t, "at")}}
}

func decide(t *rapid.T) ledger.Body {
	status := rapid.SampledFrom([]approval.Status{approval.Undefined, approval.Approved, approval.Declined, "odd"}).Draw(t, "status")
	d := ledger.UpdateDecide{Scope: group().Draw(t, "scope"), Status: status, Reason: Text().Draw(t, "reason"), Updates: decided(t), Accepts: accepts(t)}
	if status == approval.Declined && rapid.Bool().Draw(t, "reach") {
		d.Expires, d.Reach = moment().Draw(t, "expires"), approval.Reach{Later: true, Through: "9"}
	}
	return d
}

func setOperator(t *rapid.T) ledger.Body {
	role := rapid.SampledFrom([]ledger.Role{ledger.Viewer, ledger.Approver, ledger.Administrator, "odd"}).Draw(t, "role")
	name := rapid.OneOf(names("o"), rapid.Just("root")).Draw(t, "name")
	return ledger.OperatorSet{Operator: ledger.Operator{Name: name, Role: role, Scope: group().Draw(t, "scope")}}
}

func makeAccess(t *rapid.T) ledger.Body {
	return ledger.AccessCreate{Access: ledger.Access{ID: names("a").Draw(t, "id"), Operator: names("o").Draw(t, "operator"),
		Hash: "hash", Note: Text().Draw(t, "note"), Expires: moment().Draw(t, "expires"), OneTime: rapid.Bool().Draw(t, "once")}}
}
