package gateway

import (
	"net/http"
	"slices"
	"testing"

	"assent/fleet"
	"assent/wire"
)

func TestADeviceMayRetireItselfAndIsOutAtOnce(t *testing.T) {
	b := newBench(t, Limits{})
	a, other := b.agent(), b.agent()
	a.settle()
	other.settle()
	if code, problem := b.send(a.http, http.MethodPost, wire.PathLeave, nil, nil); code != http.StatusNoContent {
		t.Fatalf("leave: %d %s", code, problem)
	}
	if !slices.Equal(b.w.left, []fleet.DeviceID{a.id}) {
		t.Errorf("left: %v", b.w.left)
	}
	if _, code, problem := a.once(); code == http.StatusOK {
		t.Errorf("a check-in after it left: %d %s", code, problem)
	}
	if _, code, problem := other.once(); code != http.StatusOK {
		t.Errorf("another device: %d %s", code, problem)
	}
}

func TestNobodyLeavesWithoutACertificateNorOutOfQuarantine(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	if code, problem := b.send(b.client(), http.MethodPost, wire.PathLeave, nil, nil); code != http.StatusUnauthorized {
		t.Errorf("a stranger: %d %s", code, problem)
	}
	b.w.setState(a.id, fleet.Quarantined)
	if code, problem := b.send(a.http, http.MethodPost, wire.PathLeave, nil, nil); code != http.StatusForbidden || problem != "device_quarantined" {
		t.Errorf("quarantined: %d %s", code, problem)
	}
	if len(b.w.left) != 0 {
		t.Errorf("left: %v", b.w.left)
	}
}
