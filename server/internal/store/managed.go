package store

import (
	"context"
	"fmt"

	"assent/catalog"
	"assent/ledger"
	"assent/task"
)

// The tables of what is decided about feeds and what they publish.

func feeds() table[string, ledger.Feed] {
	return keyed("feeds", "id", text[string],
		func(s *ledger.State) map[string]ledger.Feed { return s.Feeds },
		func(f ledger.Feed) string { return f.ID })
}

func agreements() table[string, ledger.Acceptance] {
	return keyed("agreements", "digest", text[string],
		func(s *ledger.State) map[string]ledger.Acceptance { return s.Agreements },
		func(a ledger.Acceptance) string { return a.Digest })
}

func deploys() table[int64, ledger.Deploy] {
	return keyed("deploys", "act", number,
		func(s *ledger.State) map[int64]ledger.Deploy { return s.Deploys },
		func(d ledger.Deploy) int64 { return d.Act })
}

func packages() table[string, ledger.Package] {
	return keyed("packages", "id", text[string],
		func(s *ledger.State) map[string]ledger.Package { return s.Packages },
		func(p ledger.Package) string { return p.ID })
}

func channels() table[string, ledger.Channel] {
	return keyed("channels", "id", text[string],
		func(s *ledger.State) map[string]ledger.Channel { return s.Channels },
		func(c ledger.Channel) string { return c.ID })
}

func contents() table[catalog.UpdateID, ledger.Content] {
	return keyed("contents", "update_id", text[catalog.UpdateID],
		func(s *ledger.State) map[catalog.UpdateID]ledger.Content { return s.Contents },
		func(c ledger.Content) catalog.UpdateID { return c.Update })
}

func tasks() table[string, task.Task] {
	return keyed("tasks", "id", text[string],
		func(s *ledger.State) map[string]task.Task { return s.Tasks },
		func(t task.Task) string { return t.ID })
}

// putManaged is putState for the acts on feeds and what they publish.
func (t tx) putManaged(ctx context.Context, seq int64, act ledger.Body, after *ledger.State) error {
	switch b := act.(type) {
	case ledger.FeedSubscribe:
		return feeds().write(ctx, t, after, b.Feed.ID)
	case ledger.FeedUnsubscribe:
		return feeds().write(ctx, t, after, b.ID)
	case ledger.AgreementAccept:
		return agreements().write(ctx, t, after, digests(b.Accepts)...)
	case ledger.AgreementWithdraw:
		return agreements().write(ctx, t, after, b.Digest)
	case ledger.UpdateDeploy:
		return deploys().write(ctx, t, after, seq)
	case ledger.DeployEnd:
		return deploys().write(ctx, t, after, b.Deploy)
	case ledger.PackageCreate:
		return packages().write(ctx, t, after, b.Package.ID)
	case ledger.PackageDelete:
		return packages().write(ctx, t, after, b.ID)
	case ledger.ViewShare:
		return sharedViews().write(ctx, t, after, b.View.ID)
	case ledger.ViewRemove:
		return sharedViews().write(ctx, t, after, b.ID)
	case ledger.ChannelSet:
		return channels().write(ctx, t, after, b.Channel.ID)
	case ledger.ChannelRemove:
		return channels().write(ctx, t, after, b.ID)
	case ledger.ChannelTest:
		return nil
	case ledger.ContentVerify:
		return contents().write(ctx, t, after, b.Update)
	case ledger.TaskSet:
		return tasks().write(ctx, t, after, b.Task.ID)
	case ledger.TaskRemove:
		if err := t.dropRollouts(ctx, b.ID); err != nil {
			return err
		}
		return tasks().write(ctx, t, after, b.ID)
	case ledger.RolloutStep:
		return nil // its state is written beside the act
	case ledger.PasswordSet, ledger.PasswordRemove, ledger.PasskeyAdd, ledger.PasskeyRemove, ledger.SessionEnd:
		return nil // what they are about is no part of the state: it is written beside the act
	}
	return fmt.Errorf("the store has no table for acts of kind %q", act.Kind())
}

// digests names accepted agreements.
func digests(list []ledger.Accepted) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.Digest
	}
	return out
}
