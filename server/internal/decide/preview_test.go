package decide_test

import (
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/approval"
	"assent/client"
)

func TestPreview_SaysTheSameOnAnyNumberOfProcessors(t *testing.T) {
	_, _, _, d := big(t, 120, 40)
	if _, err := d.Decide(t.Context(), admin, client.Decide{Matching: &client.Filter{Search: "tool00000"}, Status: approval.Approved}); err != nil {
		t.Fatal(err)
	}
	for _, status := range []approval.Status{approval.Approved, approval.Declined} {
		var said []client.Outcome
		for _, processors := range []int{1, 4} {
			before := runtime.GOMAXPROCS(processors)
			out, err := d.Decide(t.Context(), admin, client.Decide{Matching: &client.Filter{Search: "tool000"}, Status: status, Reason: "test", DryRun: true})
			runtime.GOMAXPROCS(before)
			if err != nil {
				t.Fatal(err)
			}
			said = append(said, out)
		}
		if diff := cmp.Diff(said[0], said[1]); diff != "" {
			t.Errorf("%s: -one processor +four\n%s", status, diff)
		}
		if said[0].Preview.Devices == 0 || said[0].Preview.Unseen > 0 {
			t.Errorf("%s means something for %d devices, %d unseen", status, said[0].Preview.Devices, said[0].Preview.Unseen)
		}
	}
}
