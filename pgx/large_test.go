package pgx_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

// large are calls that together have no room in the buffers of a connection.
func large(n int) (calls []call) {
	value := strings.Repeat("v", 100_000)
	for k := range n {
		calls = append(calls, call{"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{k, value}})
	}
	return calls
}

var largeGroups = groupcommit.MaxBytes(1 << 30)

// A client that only writes and a server that only writes wait for each other for ever.
func TestAServerThatHasMuchToSayWhileALargeGroupIsWrittenIsHeard(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode, largeGroups, groupcommit.Writers(1))
		r.exec(r.plain, `CREATE FUNCTION talk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', left(NEW.v, 60000); RETURN NULL; END $$`)
		r.exec(r.plain, "CREATE TRIGGER talks AFTER INSERT ON rows FOR EACH ROW EXECUTE FUNCTION talk()")
		r.good(r.together(large(300)...))
		require.Equal(t, "300", r.value("SELECT count(*) FROM rows"))
	})
}

func TestALargeGroupWhoseConnectionIsLostWhileItIsWrittenIsMadeAgain(t *testing.T) {
	t.Parallel()
	r, p := proxied(t, groupcommit.Mode(groupcommit.Transaction), largeGroups, groupcommit.Writers(1))
	calls := large(300)
	r.good(r.together(logs(2)...))
	release := r.begin(calls...)
	var once atomic.Bool
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Type == 'E' && m.SQL == calls[0].query && once.CompareAndSwap(false, true) {
			return proxy.Cut
		}
		return proxy.Pass
	})
	r.good(release())
	require.True(t, once.Load())
	require.Equal(t, "300", r.value("SELECT count(*) FROM rows"))
}
