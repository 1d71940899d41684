package groupcommit

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// abreast is a world whose database executes calls at the same time.
func abreast(t *testing.T) *world {
	w := newWorld(t)
	w.env.over = 100 * time.Millisecond
	return w
}

func TestALoneCallMayWaitForOneThatCameLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := abreast(t)
		w.env.onAlone = func(c *call) {
			switch c.Query {
			case "plug":
				<-w.env.gate
			case "unplug":
				close(w.env.gate)
			}
			c.Answer(resultOf(c.Query), nil)
		}
		w.busy()
		started := time.Now()
		unplug := w.exec(t.Context(), "unplug")
		unplug.ok(t)
		w.plug.ok(t)
		assert.Equal(t, w.env.over, time.Since(started))
		w.execs("a b")
		w.close()
		assert.False(t, w.leading)
	})
}

func TestALoneCallThatIsOverSoonKeepsTheLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := abreast(t)
		w.busy()
		as := w.execs("a b c")
		time.Sleep(w.env.over - 1)
		synctest.Wait()
		require.Empty(t, w.env.ran())
		w.release()
		allOK(t, as)
		time.Sleep(time.Second)
		assert.Equal(t, []string{"group a b c"}, w.env.ran())
		assert.False(t, w.leading)
	})
}

func TestWhereCallsHaveNoOrderWhoRunsAloneKeepsNobodyWaiting(t *testing.T) {
	for name, story := range map[string]struct {
		verdict engine.Outcome
		ran     []string
	}{
		"culprit":    {engine.Outcome{Verdict: engine.RolledBack, Culprit: 2}, []string{"group a bb ccc d ee", "group a bb", "group d ee", "apart ccc"}},
		"no culprit": {engine.Outcome{Verdict: engine.RolledBack, Culprit: -1}, []string{"group a bb ccc d ee", "apart a", "apart bb", "apart ccc", "apart d", "apart ee"}},
		"one left":   {engine.Outcome{Verdict: engine.RolledBack, Culprit: 1}, []string{"group a bb ccc d ee", "group ccc d ee", "apart a", "apart bb"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := abreast(t)
				verdicts := []engine.Outcome{story.verdict}
				w.env.onCommit = func(calls []*call) (out engine.Outcome) {
					for _, c := range calls {
						c.Try(w.env.run)
					}
					if len(verdicts) > 0 {
						out, verdicts = verdicts[0], verdicts[1:]
					}
					return out
				}
				w.busy()
				as := w.execs("a bb ccc d ee")
				w.release()
				allOK(t, as)
				assert.ElementsMatch(t, story.ran, w.env.ran())
				w.close()
			})
		})
	}
}
