// Package storetest is the behaviour suite of the store: what every engine must do. It runs on both.
package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/fleet"
	"assent/ledger"
	"assent/ledger/ledgertest"
	"assent/server/internal/store"
)

// Run runs the suite. fresh returns the configuration of a new, empty database; a test opens it as often as
// it needs servers.
func Run(t *testing.T, fresh func(testing.TB) store.Config) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func(testing.TB) store.Config)
	}{
		{"TablesAreWhatTheLedgerReplaysTo", tablesEqualReplay},
		{"AppendTakesOnlyTheNextEntry", appendOnlyNext},
		{"AppendedByTwoServersNothingIsLostOrDoubled", appendRace},
		{"AnActThatFailsHalfWayLeavesNothing", appendAtomic},
		{"ACancelledActLeavesNothing", appendCancelled},
		{"EnrolmentsTogetherAreWhatTheyAreOneByOne", enrolmentsTogether},
		{"TheLedgerIsWrittenOnce", writtenOnce},
		{"TheLedgerExportsAndProves", exports},
		{"ABulkActOf10000UpdatesIsOneEntry_A2", bulk},
		{"HugeValuesAreKept", huge},
		{"ReportsAreAppliedExactlyOnce", reportsOnce},
		{"ReportsOfTwoServersAreAppliedExactlyOnce", reportsRace},
		{"HostileReportsAreStored", reportsHostile},
		{"EventsAreFilteredAndPaged", events},
		{"InstallsAreReplaced", installs},
		{"ARehearsalTakesThePlaceOfTheOneBefore", rehearsals},
		{"DocumentsAreKeptUnderTheirDigest", documents},
		{"OnlyUnusedOldDocumentsArePruned", prune},
		{"OldReportsAreForgottenAndTheDatabaseDoesNotGrowForEver", retention},
		{"TheCatalogOnlyGrows", catalogGrows},
		{"TheCatalogOfTwoServersLosesNoItem", catalogRace},
		{"ContactsAreReplaced", contacts},
		{"PasswordsAreKeptBesideTheirActs", passwords},
		{"PasskeysAreKeptBesideTheirActsAndOnlyCountUp", passkeys},
		{"SessionsEndWithWhatTheyStandOn", sessions},
		{"EndedSessionsAreForgotten", sweptSessions},
		{"AChallengeIsTakenOnce", ceremonies},
		{"ChannelsKeepTheirSecretsBesideTheirActs", channels},
		{"MessagesAreSentInOrderAndOnce", outbox},
		{"WhatAChannelWasToldIsRemembered", toldOf},
		{"ALeaseHasOneHolder", leases},
		{"AHolderThatLostItsLeaseCannotWrite", fenced},
		{"WhatOneServerWritesTheOthersFind", changes},
		{"AChangeThatEndsLateIsFound", lateChange},
		{"ContactsOfTwoServersAreMerged", mergedContacts},
		{"TheInstallationIsPinnedByTheFirstServer", pinned},
		{"ThereIsOneTrendSampleForAGroupAndDay", samples},
		{"ViewsBelongToOneOperatorAndGoWithThem", personalViews},
		{"RolloutsAreKeptBesideTheirStepsAndGoWithTheirTask_T6", rolloutsKept},
		{"EverythingIsThereAfterReopening", reopen},
		{"TwoServersMayStartOnAnEmptyDatabase", startTogether},
		{"ANewerSchemaIsRefused", newerSchema},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, fresh) })
	}
}

// open opens a database for the length of a test.
func open(t testing.TB, cfg store.Config) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// same fails the test when two values differ.
func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

// act appends one act to the database and to the state.
func act(ctx context.Context, db *store.DB, s *ledger.State, by string, b ledger.Body) error {
	e, err := ledger.Make(s.Seq+1, ledgertest.Start(), by, b)
	if err != nil {
		return err
	}
	after := s.Clone()
	if err := after.Apply(e); err != nil {
		return err
	}
	if err := db.Append(ctx, e, after); err != nil {
		return err
	}
	*s = *after
	return nil
}

// begin starts a ledger with a token for many devices.
func begin(t testing.TB, db *store.DB) *ledger.State {
	t.Helper()
	s := ledger.NewState()
	must(t, act(t.Context(), db, s, "server", ledger.ServerInit{Org: "org", CA: "ca", PlanKey: "key"}))
	must(t, act(t.Context(), db, s, "admin", ledger.TokenCreate{ID: "token", Group: fleet.Root, Uses: 1 << 30, Expires: ledgertest.Start().Add(time.Hour)}))
	return s
}

// entries reads the whole ledger, a few entries at a time.
func entries(t testing.TB, db *store.DB) func(func([]byte, error) bool) {
	return func(yield func([]byte, error) bool) {
		next := int64(1)
		for {
			part, err := db.Entries(t.Context(), next, 7)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(part) == 0 {
				return
			}
			for _, e := range part {
				if e.Seq != next {
					yield(nil, errors.New("the store skipped an entry"))
					return
				}
				next++
				if !yield(e.Data, nil) {
					return
				}
			}
		}
	}
}

// Consistent checks that tables, ledger and hashes say the same, and returns the state.
func Consistent(t testing.TB, db *store.DB) *ledger.State {
	t.Helper()
	tables, err := db.LoadState(t.Context())
	must(t, err)
	replayed, err := ledger.Replay(entries(t, db))
	must(t, err)
	same(t, "tables against the replayed ledger", tables, replayed)

	var tree ledger.Tree
	for data, err := range entries(t, db) {
		must(t, err)
		must(t, tree.Append(data))
	}
	want, err := tree.Root()
	must(t, err)
	seq, root, err := db.Head(t.Context())
	must(t, err)
	if seq != tables.Seq || root != want {
		t.Fatalf("the head is %d %v, the entries give %d %v", seq, root, tree.Size(), want)
	}
	return tables
}
