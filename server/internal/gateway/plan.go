package gateway

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"assent/fault"
	"assent/fleet"
)

var errPlanGone = fault.New(fault.NotFound, "plan_superseded", "This is not the device's plan, or not any more; check in again.").On("digest")

// plan sends the body of the device's own current plan, or of the one it was told of last. A digest that
// belongs to another device looks the same as one that does not exist.
func (g *Gateway) plan(c *call) error {
	if c.device.State != fleet.Active {
		return errQuarantined
	}
	digest := c.r.PathValue("digest")
	if !isDigest(digest) {
		return errPlanGone
	}
	if digest != c.session.given() {
		current, err := g.isCurrent(c, digest)
		if err != nil {
			return fmt.Errorf("plan for a device: %w", err)
		}
		if !current {
			return errPlanGone
		}
	}
	body, ok := g.Planner.PlanBytes(digest)
	if !ok {
		return errPlanGone
	}
	packed, err := g.plans.compress(digest, body)
	if err != nil {
		return err
	}
	c.w.Header()["Content-Type"] = []string{"application/json"}
	c.w.Header()["Content-Encoding"] = []string{"zstd"}
	return g.write(c, packed)
}

// maxCached bounds the compressed plans that are kept, in bytes.
const maxCached = 32 << 20

// planCache compresses each plan once: after an act, thousands of devices with the same facts ask for
// the same one.
type planCache struct {
	mu    sync.Mutex
	enc   *zstd.Encoder
	plans map[string][]byte
	size  int
}

func newPlanCache() *planCache { return &planCache{plans: map[string][]byte{}} }

func (p *planCache) compress(digest string, body []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b, ok := p.plans[digest]; ok {
		return b, nil
	}
	if p.enc == nil {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		if err != nil {
			return nil, fmt.Errorf("make a compressor: %w", err)
		}
		p.enc = enc
	}
	b := p.enc.EncodeAll(body, nil)
	for old, packed := range p.plans { // any will do: what is still asked for comes back
		if p.size+len(b) <= maxCached {
			break
		}
		delete(p.plans, old)
		p.size -= len(packed)
	}
	p.plans[digest] = b
	p.size += len(b)
	return b, nil
}
