package pgx

import (
	"context"
	"testing"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/stretchr/testify/require"
)

func TestIDsAreClaimedInTheirOrderAndEachOnce(t *testing.T) {
	of := func(id string, print durable.Key) request {
		c := engine.NewCall(context.Background(), "", nil, false)
		c.Identify(id, print)
		return request{call: &c}
	}
	all := []request{of("b", "1"), of("", ""), of("a", "2"), of("b", "3"), of("", ""), of("B", "4"), of("a", "5"), of("é", "6")}
	var put []bool
	kept, c := claimsOf(append([]request(nil), all...))
	require.Equal(t, []string{"B", "a", "b", "é"}, c.ids, "the order of their bytes")
	require.Equal(t, []durable.Key{"4", "2", "1", "6"}, c.keys)
	for _, r := range all {
		put = append(put, r.call.IsPutOff())
	}
	require.Equal(t, []bool{false, false, false, true, false, false, true, false}, put, "the second time, an id is put off")
	require.Equal(t, []request{all[0], all[1], all[2], all[4], all[5], all[7]}, kept)
}
