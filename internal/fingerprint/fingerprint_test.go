package fingerprint

import (
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func printOf(args ...any) (string, error) {
	var named []driver.NamedValue
	for i, a := range args {
		named = append(named, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	print, err := Of("mine", "INSERT", named)
	return hex.EncodeToString([]byte(print)), err
}

func mustPrint(t testing.TB, args ...any) string {
	t.Helper()
	print, err := printOf(args...)
	require.NoError(t, err)
	return print
}

type (
	point  struct{ X, Y int32 }
	extent struct{ X, Y int32 }
	secret struct{ name, word string }
	node   struct{ next *node }
	hook   struct{ f func() }
	dated  struct{ at time.Time }
	blank  struct{ _, n int }
	upper  string // by its Value
	onlyID struct{ ID, Name string }
	faulty struct{ err error }
)

func (u upper) Value() (driver.Value, error)  { return strings.ToUpper(string(u)), nil }
func (o onlyID) Value() (driver.Value, error) { return o.ID, nil }
func (f faulty) Value() (driver.Value, error) { return nil, f.err }

// counted counts how often it is asked for its value, which is all that can be compared of it.
type counted struct {
	f     func()
	asked *int
}

func (c counted) Value() (driver.Value, error) { *c.asked++; return int64(7), nil }

// different are values of which no two are the same to a driver.
func different() []any {
	one, two, yes := "one", "two", true
	return []any{
		nil, int64(1), int64(0), 1.0, math.NaN(), math.Float64frombits(math.Float64bits(math.NaN()) + 1), math.Inf(1), math.Copysign(0, -1), "", "1", []byte{}, []byte("1"), true, false, time.Unix(1, 2), time.Unix(1, 3),
		int8(1), int16(1), int32(1), uint(1), uint8(1), uint64(math.MaxUint64), uintptr(1), float32(1), complex(1, 2), complex(2, 1),
		json.RawMessage("1"), json.RawMessage(nil), json.RawMessage{}, json.Number("1"), words("1"), words2("1"), time.Duration(1),
		[]string(nil), []string{}, []string{""}, []string{"", ""}, []string{"a", "b"}, []string{"ab"}, []string{"a,b"}, []any{"a", "b"}, []any{"a", []byte("b")}, []any{nil}, []any{nil, nil}, []any{int64(1)}, []any{1}, []any{1.0},
		[2]string{"a", "b"}, []int32{1, 2}, []int64{1, 2}, []int32{1, 258}, []int32{2, 1}, [][]byte{nil}, [][]byte{{}}, [][]byte{{1}, {2}}, [][]byte{{1, 2}}, []float64{math.NaN()}, []float32{float32(math.NaN())},
		[16]byte{1}, [16]byte{2}, [15]byte{1}, [16]int8{1},
		&one, &two, (*string)(nil), (*int)(nil), &yes, ref(&one), ref(&two), ref((*string)(nil)), []*string{&one}, []*string{&two}, []*string{nil}, []*string{&one, &two},
		point{1, 2}, point{2, 1}, extent{1, 2}, &point{1, 2}, []point{{1, 2}}, []extent{{1, 2}}, []*point{{1, 2}}, struct{ X, Y int32 }{1, 2}, struct{ X, Z int32 }{1, 2}, struct{ X, Y int64 }{1, 2},
		struct {
			X int32 `json:"x"`
			Y int32
		}{1, 2},
		secret{"a", "b"}, secret{"a", "c"}, secret{"ab", ""}, []secret{{"a", "b"}}, map[string]secret{"": {"a", "b"}}, map[string]secret{"": {"a", "c"}},
		node{}, node{&node{}}, node{&node{&node{}}}, hook{}, blank{n: 1}, blank{n: 2},
		map[string]int(nil), map[string]int{}, map[string]int{"a": 1}, map[string]int{"a": 2}, map[string]int{"b": 1}, map[string]int{"a": 1, "b": 2}, map[string]int{"a": 2, "b": 1}, map[string]int64{"a": 1}, map[string]any{"a": 1}, map[string]any{"a": "1"}, map[string]any{"a": nil},
		map[float64]int{math.NaN(): 1}, map[float64]int{math.NaN(): 1, -math.NaN(): 2}, map[any]int{1: 1}, map[any]int{"1": 1},
		netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("fe80::1%a"), netip.MustParseAddr("fe80::1%b"), netip.Addr{}, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/9"),
		*big.NewInt(1), big.NewInt(1), big.NewInt(-1), big.NewInt(0).Lsh(big.NewInt(1), 70),
		upper("a"), upper("b"), "A", sql.NullString{String: "A", Valid: true}, sql.NullString{}, sql.NullInt64{}, &sql.NullString{}, (*sql.NullString)(nil), sql.Null[string]{V: "A", Valid: true}, onlyID{"1", ""},
		[]onlyID{{"1", "a"}}, []onlyID{{"1", "b"}}, []sql.NullString{{}}, []sql.NullString{{Valid: true}}, struct{ Owner onlyID }{onlyID{"1", "a"}}, struct{ Owner onlyID }{onlyID{"1", "b"}},
		[]time.Time{time.Unix(1, 2)}, []time.Time{time.Unix(1, 3)}, ref(time.Unix(1, 2)), local1(), local2(), faulty{errWord}, faulty{errors.New("busy")},
	}
}

type words2 string

func ref[T any](v T) *T { return &v }

// Two types with the same name.
func local1() any { type local struct{ A int32 }; return local{1} }
func local2() any { type local struct{ A uint32 }; return local{1} }

func TestArgumentsThatDifferForTheDatabaseHaveDifferentFingerprints(t *testing.T) {
	seen := make(map[string]any)
	for _, v := range different() {
		print := mustPrint(t, v)
		other, taken := seen[print]
		assert.False(t, taken, "%#v (%T) and %#v (%T)", v, v, other, other)
		seen[print] = v
	}
	assert.Equal(t, mustPrint(t, nil), mustPrint(t, []byte(nil)), "both are NULL")
	assert.NotEqual(t, mustPrint(t, "a", "b"), mustPrint(t, "ab", ""))
	assert.NotEqual(t, mustPrint(t, []string{"a"}, "b"), mustPrint(t, []string{"a", "b"}))
}

func TestTheSameArgumentsHaveTheSameFingerprint(t *testing.T) {
	again := different()
	for i, v := range different() { // other pointers, other maps
		assert.Equal(t, mustPrint(t, v), mustPrint(t, again[i]), "%T %#v", v, v)
	}
	many := func() map[any]*[]string {
		m := make(map[any]*[]string)
		for i := range 50 {
			m[i], m[fmt.Sprint(i)], m[float64(i)] = &[]string{fmt.Sprint(i)}, nil, &[]string{}
		}
		return m
	}
	first := mustPrint(t, many())
	for range 20 {
		require.Equal(t, first, mustPrint(t, many()))
	}
	assert.Equal(t, mustPrint(t, new(big.Int)), mustPrint(t, new(big.Int).Sub(big.NewInt(5), big.NewInt(5))))
	now := time.Now()
	assert.Equal(t, mustPrint(t, now), mustPrint(t, now.Round(0).UTC()))
	assert.Equal(t, mustPrint(t, []time.Time{now}), mustPrint(t, []time.Time{now.Round(0).UTC()}))
	shared := "x"
	assert.Equal(t, mustPrint(t, []*string{&shared, &shared}), mustPrint(t, []*string{ref("x"), ref("x")}))
}

// What is recorded under one version must be found by the next.
func TestFingerprintsAreTheSameForEver(t *testing.T) {
	for want, args := range map[string][]any{
		"1c7ecb729d76367b67695b9a32ef8c70288fa3ff38e1947ce1557195519f2d76": {int64(1), -7, 1.5, sql.NamedArg{Name: "nan", Value: math.NaN()}, true, "s", []byte("b"), []byte(nil), []byte{}, time.Unix(1, 2), nil},
		"56c1f355672c55ceab166d4f9615530e1ce93abcacd59a360765a76b6ec1a28d": {[]string{"a"}, map[string]any{"k": 1, "l": []int32{2}}, &point{1, 2}, [16]byte{1}, netip.MustParseAddr("10.0.0.1"), json.RawMessage("{}"), upper("a"), int32(5)},
	} {
		named, err := named(args)
		require.NoError(t, err)
		print, err := Of("mine", "INSERT", named)
		require.NoError(t, err)
		assert.Equal(t, want, hex.EncodeToString([]byte(print)))
	}
}

func TestWhatCannotBeComparedIsRefused(t *testing.T) {
	ring := &node{}
	ring.next = ring
	slice := []any{nil}
	slice[0] = slice
	m := map[string]any{}
	m["m"] = m
	for _, v := range []any{
		func() {}, make(chan int), unsafe.Pointer(ring), hook{func() {}}, []any{1, func() {}}, map[string]any{"f": func() {}},
		ring, *ring, slice, m, dated{time.Unix(1, 2)}, []dated{{}},
	} {
		_, err := printOf("first", v)
		require.ErrorContains(t, err, fmt.Sprintf(`groupcommit: id "mine": argument $2 is a %T`, v))
	}
	_, err := Of("mine", "INSERT", []driver.NamedValue{{Name: "f", Value: hook{func() {}}}})
	require.ErrorContains(t, err, `argument "f" is a fingerprint.hook, which cannot be compared with what another process had: a func() has nothing that can be compared`)
}

func TestAValuerIsAskedOnce(t *testing.T) {
	asked := 0
	alone := mustPrint(t, counted{func() {}, &asked})
	assert.Equal(t, 1, asked)
	assert.NotEqual(t, mustPrint(t, int64(7)), alone)
	assert.Equal(t, alone, mustPrint(t, counted{nil, &asked}))
	mustPrint(t, []counted{{func() {}, &asked}})
	assert.Equal(t, 3, asked, "inside of another value it is asked if its content does not do")
	mustPrint(t, []upper{"a"})
}

func TestTheErrorOfAValuerIsTheDriversToReport(t *testing.T) {
	f := func() {}
	for _, v := range []any{faulty{errWord}, struct {
		faulty
		f func()
	}{faulty{errWord}, f}} {
		_, err := printOf(v)
		assert.NoError(t, err)
	}
}

func FuzzFingerprintsOfStringsAndNumbers(f *testing.F) {
	f.Add("a", "b", int64(1), "ab", "", int64(1), true)
	f.Add("", "", int64(0), "", "", int64(0), false)
	f.Fuzz(func(t *testing.T, a, b string, m int64, c, d string, n int64, flag bool) {
		type pair struct {
			s []string
			m map[string]int64
			p *int64
		}
		make := func(a, b string, n int64) []any {
			return []any{pair{[]string{a, b}, map[string]int64{a: n, b: 1}, &n}, []any{a, []byte(b), n}, a, b, n, map[any]any{a: b, n: flag}}
		}
		x, y := make(a, b, m), make(c, d, n)
		for i := range x {
			if same := reflect.DeepEqual(x[i], y[i]); same != (mustPrint(t, x[i]) == mustPrint(t, y[i])) {
				t.Errorf("%#v and %#v: same: %t", x[i], y[i], same)
			}
		}
		if same := reflect.DeepEqual(x, y); same != (mustPrint(t, x...) == mustPrint(t, y...)) {
			t.Errorf("%#v and %#v: same: %t", x, y, same)
		}
	})
}

type words string

var errWord = errors.New("no value")

func named(args []any) ([]driver.NamedValue, error) {
	out := make([]driver.NamedValue, len(args))
	for i, a := range args {
		out[i].Value = a
		if n, ok := a.(sql.NamedArg); ok {
			out[i] = driver.NamedValue{Name: n.Name, Value: n.Value}
		}
	}
	return out, nil
}
