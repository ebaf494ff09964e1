package conductor_test

import (
	"testing"
	"time"

	"assent/approval"
	"assent/installation"
	"assent/server/internal/index"
	"assent/server/internal/planner"
	"assent/task"
	"assent/wire"
)

func TestV1_WhatATaskOnlyDownloadsIsNeverOverdue(t *testing.T) {
	for name, only := range map[string]bool{"only downloaded": true, "to be installed": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.task(nil, func(x *task.Task) { x.Options.DownloadOnly = only })
			w.one()
			w.decide(tool, approval.Approved)
			w.look()
			for _, s := range []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded} {
				w.Report("test", wire.Report{Update: tool.ID(), State: s})
			}
			w.pass(26 * time.Hour)
			verdict := w.verdict("test", tool)
			w.Index.View(func(v *index.View) {
				d, _ := v.Device("test")
				u, _ := v.Update(tool.ID())
				if s := planner.Standing(d, u, verdict); s.State != installation.Downloaded || s.Overdue(w.Now()) == only {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}
