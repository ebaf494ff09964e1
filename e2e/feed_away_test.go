package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/trust/publish"
)

// lasts publishes the draft with a timestamp that counts so long only.
func (v *publisher) lasts(d time.Duration) {
	v.t.Helper()
	tree, err := publish.Open(v.Dir)
	v.try(err)
	v.try(tree.SetExpiry(publish.Timestamp, time.Hour))
	then := time.Now().Add(d - time.Hour)
	_, err = tree.Sign(publish.SignOptions{Now: then})
	if err == nil {
		_, err = tree.Publish(v.t.Context(), v.Out(), then, nil)
	}
	v.try(errors.Join(err, tree.Close()))
	v.assent("feed", "refresh", "acme", "--wait")
}

func TestN34_AFeedThatIsAwayOrExpiredIsAnAlarmAndWhatWasVerifiedLastInstallsOn(t *testing.T) {
	v := enrolled(open(t, "web1"), t).opens("acme")
	v.deb(app("desk", "1.0"))
	v.issue()
	v.rolledOut("desk@1.0", "web1")

	t.Run("away", func(t *testing.T) {
		v := v.in(t)
		v.deb(app("desk", "2.0"))
		v.issue()
		v.here()
		metadata := filepath.Join(v.Out(), "metadata")
		v.try(os.Rename(metadata, metadata+".away"))
		v.refused(exitUnavailable, "feed_unreachable", "feed", "refresh", "acme", "--wait")
		v.approved("desk@2.0", "web1")
		if out := v.assent("feed", "subscriptions"); !strings.Contains(out, "failing") {
			t.Errorf("nobody says that it is away:\n%s", out)
		}
		v.refresh()
		v.until("the device, which follows the server's copy, is well", func() bool { return v.feedProblem("web1", "acme") == "" })
		v.try(os.Rename(metadata+".away", metadata))
		v.assent("feed", "refresh", "acme", "--wait")
	})

	t.Run("expired", func(t *testing.T) {
		v := v.in(t)
		v.deb(app("desk", "3.0"))
		v.lasts(6 * time.Second)
		v.here()
		v.until("the device could take desk 3.0", func() bool { return v.on("web1", "desk@3.0").State == "applicable" })
		v.until("the status is alarmed", func() bool {
			out := v.assent("status")
			return strings.Contains(out, "Feed acme") && strings.Contains(out, "expired")
		})
		v.refresh()
		v.until("the device says so too", func() bool { return v.feedProblem("web1", "acme") == "expired" })
		v.approved("desk@3.0", "web1")
		v.deb(app("desk", "4.0"))
		v.issue()
		v.refresh()
		v.until("the feed is well", func() bool { return v.feedProblem("web1", "acme") == "" })
		if out := v.assent("status"); strings.Contains(out, "Feed acme") {
			t.Errorf("the alarm did not end:\n%s", out)
		}
		v.approved("desk@4.0", "web1")
	})
}

// here waits until the server has all files of the feed.
func (v *publisher) here() {
	v.t.Helper()
	v.until("the server has all files", func() bool {
		var list struct {
			Items []struct {
				Files     int
				FilesHere int `json:"files_here"`
			}
		}
		v.ask(&list, "feed", "subscriptions")
		return len(list.Items) == 1 && list.Items[0].Files > 0 && list.Items[0].FilesHere == list.Items[0].Files
	})
}
