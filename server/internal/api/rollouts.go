package api

import (
	"context"
	"net/http"

	"assent/client"
	"assent/rollout"
	"assent/server/internal/auth"
)

// Rollouts are how far updates are through the rings of tasks (T6).
type Rollouts interface {
	Rollouts(ctx context.Context, who auth.Actor, q client.RolloutQuery) (client.List[client.RolloutRow], error)
	Rollout(ctx context.Context, who auth.Actor, task, update string) (client.RolloutDetail, error)
	// Act halts, resumes, opens, skips or restarts.
	Act(ctx context.Context, who auth.Actor, r client.RolloutAct) (client.RolloutActed, error)
}

// rolloutRoutes are the part of the table about rollouts.
func (s *server) rolloutRoutes() []Route {
	return []Route{
		route(Viewer, http.MethodGet, "/rollouts", "list-rollouts", "List how far updates are through the rings of tasks", s.rollouts),
		route(Viewer, http.MethodGet, "/rollouts/{task}/{update}", "get-rollout", "Show a rollout with all its rings", s.rollout),
		route(Approver, http.MethodPost, "/rollouts/{task}/{update}/{verb}", "act-on-rollout", "Halt, resume, open, skip or restart a rollout", s.actOnRollout),
	}
}

type rolloutsInput struct {
	Task   string `query:"task" maxLength:"400" doc:"Only of this task: id or name."`
	Update string `query:"update" maxLength:"400" doc:"Only of this update."`
	Only   string `query:"only" enum:"halted,needs_person,running,finished" doc:"Only those that stand so."`
}

type rolloutInput struct {
	Task   string `path:"task" maxLength:"400" doc:"Id or name."`
	Update string `path:"update" maxLength:"400" doc:"Id, package URL or name@version."`
}

type rolloutActInput struct {
	Task   string `path:"task" maxLength:"400" doc:"Id or name."`
	Update string `path:"update" maxLength:"400" doc:"Id, package URL or name@version."`
	Verb   string `path:"verb" enum:"halt,resume,open,skip,restart"`
	Body   client.RolloutAct
}

func (s *server) rollouts(ctx context.Context, who auth.Session, in *rolloutsInput) (client.List[client.RolloutRow], error) {
	return s.Rollouts.Rollouts(ctx, who.Actor, client.RolloutQuery{Task: in.Task, Update: in.Update, Only: client.RolloutOnly(in.Only)})
}

func (s *server) rollout(ctx context.Context, who auth.Session, in *rolloutInput) (client.RolloutDetail, error) {
	return s.Rollouts.Rollout(ctx, who.Actor, in.Task, in.Update)
}

func (s *server) actOnRollout(ctx context.Context, who auth.Session, in *rolloutActInput) (client.RolloutActed, error) {
	r := in.Body
	r.Task, r.Update, r.Verb = in.Task, in.Update, rollout.Verb(in.Verb)
	return s.Rollouts.Act(ctx, who.Actor, r)
}
