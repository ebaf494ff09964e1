package cli

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/rollout"
	"assent/task"
	"assent/window"
	"assent/wire"
)

// fleetSchema is the JSON schema of fleet files, made from the very types that read them, so that it cannot drift.
func fleetSchema() map[string]any {
	s := schemaOf(reflect.TypeFor[fleetFile]())
	s["$schema"], s["title"] = "https://json-schema.org/draft/2020-12/schema", "An Assent fleet file"
	s["required"] = []string{"version"}
	return s
}

// words of fields that have a fixed choice.
func choices(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[task.Admits]():
		return []string{string(task.Approved), string(task.ApprovedOrUndefined), string(task.AnyIncludingDeclined)}
	case reflect.TypeFor[approval.Status]():
		return []string{string(approval.Undefined), string(approval.Approved), string(approval.Declined)}
	case reflect.TypeFor[fleet.GuardMode]():
		return []string{"", string(fleet.Observe), string(fleet.BlockDeclined), string(fleet.ApprovedOnly)}
	case reflect.TypeFor[wire.RestartWhen]():
		return []string{"", string(wire.RestartNever), string(wire.RestartIfRequired), string(wire.RestartAlways), string(wire.RestartAsked)}
	case reflect.TypeFor[task.OnFailure]():
		return []string{"", string(task.LeaveIt), string(task.Restore)}
	case reflect.TypeFor[window.Missing]():
		return []string{"", string(window.NextWindow), string(window.AtOnce)}
	case reflect.TypeFor[rollout.Empty]():
		return []string{"", string(rollout.EmptyWait), string(rollout.EmptySkip)}
	case reflect.TypeFor[catalog.ProbeType]():
		return []string{string(catalog.ProbeFile), string(catalog.ProbeUnit), string(catalog.ProbeProcess), string(catalog.ProbeTCP), string(catalog.ProbeHTTP)}
	}
	return nil
}

func schemaOf(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case choices(t) != nil:
		return map[string]any{"type": "string", "enum": choices(t)}
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return map[string]any{"type": "string", "description": "A time like 45m, 12h or 2d."}
	}
	switch t.Kind() {
	case reflect.Struct:
		fields := map[string]any{}
		for field := range t.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			fields[name] = schemaOf(field.Type)
		}
		return map[string]any{"type": "object", "properties": fields, "additionalProperties": false}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	}
	return map[string]any{"type": "string"}
}

func indented(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // maps of texts can always be written
		return err.Error()
	}
	return string(b)
}
