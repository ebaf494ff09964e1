package publish

import (
	"maps"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"assent/fault"
)

// Rotation says how a role's keys are replaced.
type Rotation struct {
	Role      Role
	Keys      int    // new keys; as many as now when zero
	Threshold int    // as now when zero
	Secret    Secret // for the new keys; nil: in clear
	Now       time.Time
}

// Rotate replaces the keys of a role by new ones, in a new version of the root that waits for signatures: Sign completes
// it with the root's keys, and then signs anew what the role had signed. It joins a rotation that already waits.
func (t *Tree) Rotate(o Rotation) error {
	if lifetime(o.Role) == 0 {
		return fault.New(fault.Invalid, "feed_role", "There is no role %q; the roles are root, targets, snapshot and timestamp.", o.Role).On("role")
	}
	cur, err := t.current()
	if err != nil {
		return err
	}
	next, err := pending(t, Root, metadata.Root())
	if err != nil {
		return err
	}
	if next == nil || next.Signed.Version <= cur.root.Signed.Version {
		next = cur.root
	}
	version := cur.root.Signed.Version + 1
	if next, err = copyRoot(next); err != nil {
		return err
	}
	next.Signed.Version, next.Signed.Expires = version, expiry(o.Now, time.Duration(t.config.Expires[Root]))
	made, err := replaceKeys(next, o)
	if err != nil {
		return err
	}
	if err := t.keep(map[Role][]key{o.Role: made}, o.Secret); err != nil {
		return err
	}
	return t.writePending(Root, next)
}

// replaceKeys puts new keys into a root, and drops keys that no role uses any more.
func replaceKeys(root *rootMeta, o Rotation) ([]key, error) {
	role := root.Signed.Roles[string(o.Role)]
	if o.Threshold != 0 {
		role.Threshold = o.Threshold
	}
	n := o.Keys
	if n == 0 {
		n = max(len(role.KeyIDs), role.Threshold)
	}
	if role.Threshold < 1 || n < role.Threshold || n > 16 {
		return nil, errPolicy.On(string(o.Role))
	}
	role.KeyIDs = nil
	var made []key
	for range n {
		k, err := newKey(o.Role)
		if err != nil {
			return nil, err
		}
		made = append(made, k)
		role.KeyIDs = append(role.KeyIDs, k.id)
		root.Signed.Keys[k.id] = k.public
	}
	maps.DeleteFunc(root.Signed.Keys, func(id string, _ *metadata.Key) bool {
		for _, r := range root.Signed.Roles {
			if slices.Contains(r.KeyIDs, id) {
				return false
			}
		}
		return true
	})
	return made, nil
}

// Standing says how a role stands: who signs it and until when.
type Standing struct {
	Role      Role      `json:"role"`
	Version   int64     `json:"version"` // 0: none yet
	Expires   time.Time `json:"expires"`
	Threshold int       `json:"threshold"`
	Keys      []string  `json:"keys"` // key ids
	Pending   bool      `json:"pending"`
}

// Standing lists how the roles stand.
func (t *Tree) Standing() ([]Standing, error) {
	cur, err := t.current()
	if err != nil {
		return nil, err
	}
	out := make([]Standing, 0, 4)
	for _, r := range Roles() {
		role := cur.root.Signed.Roles[string(r)]
		out = append(out, Standing{Role: r, Threshold: role.Threshold, Keys: role.KeyIDs})
	}
	out[0].Version, out[0].Expires = cur.root.Signed.Version, cur.root.Signed.Expires
	if cur.targets != nil {
		out[1].Version, out[1].Expires = cur.targets.Signed.Version, cur.targets.Signed.Expires
	}
	if cur.snapshot != nil {
		out[2].Version, out[2].Expires = cur.snapshot.Signed.Version, cur.snapshot.Signed.Expires
	}
	if cur.timestamp != nil {
		out[3].Version, out[3].Expires = cur.timestamp.Signed.Version, cur.timestamp.Signed.Expires
	}
	root, err := pending(t, Root, metadata.Root())
	if err != nil {
		return nil, err
	}
	targets, err := pending(t, Targets, metadata.Targets())
	out[0].Pending, out[1].Pending = root != nil, targets != nil
	return out, err
}
