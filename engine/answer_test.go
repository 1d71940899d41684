package engine

import (
	"errors"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAResultIsNoLargerThanTheDriversOwn(t *testing.T) {
	a := Answer{Result: Result{id: 7, rows: 3}}
	res, err := a.Get()
	require.NoError(t, err)
	id, _ := res.LastInsertId()
	rows, _ := res.RowsAffected()
	assert.Equal(t, [2]int64{7, 3}, [2]int64{id, rows})
	assert.EqualValues(t, 16, reflect.TypeOf(res).Elem().Size())
}

func TestAResultHasWhatTheDriverDoesNotTell(t *testing.T) {
	none := errors.New("none")
	for name, given := range map[string]Result{
		"no id":    {idErr: none},
		"no rows":  {rowsErr: none},
		"replayed": {Replayed: true},
		"returned": {returned: []byte{}},
	} {
		a := Answer{Result: given}
		res, err := a.Get()
		require.NoError(t, err, name)
		assert.Equal(t, &given, res, name)
	}
}
