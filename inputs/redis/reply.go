package redis

import (
	"strconv"
	"unsafe"
)

// value is a reply, or a value of an array, as the library gives it: a string, an int64, an []any of values, an error, or nil where there is none.
type value struct{ is any }

// text is that of a string, an error or an integer; of anything else it is empty. A string's is the string itself: nobody may write to it.
func (v value) text() []byte {
	switch is := v.is.(type) {
	case string:
		// INFO has 50 KiB and is read at each collection.
		return unsafe.Slice(unsafe.StringData(is), len(is))
	case int64:
		return strconv.AppendInt(nil, is, 10)
	case error:
		return []byte(is.Error())
	}
	return nil
}

// isError says whether the server answered with an error; text is what it said.
func (v value) isError() bool {
	_, is := v.is.(error)
	return is
}

func (v value) isString() bool {
	_, is := v.is.(string)
	return is
}

func (v value) isArray() bool {
	_, is := v.is.([]any)
	return is
}

// integer is that of an integer, or of a string of digits.
func (v value) integer() (int64, bool) {
	switch is := v.is.(type) {
	case int64:
		return is, true
	case string:
		return parseInt(v.text())
	}
	return 0, false
}

// len is how many values an array holds.
func (v value) len() int {
	array, _ := v.is.([]any)
	return len(array)
}

// at is the i-th value of an array; none where it has no such.
func (v value) at(i int) value {
	if array, _ := v.is.([]any); i < len(array) {
		return value{array[i]}
	}
	return value{}
}

// pairs are the names and values that stand in turn in an array. What has no value is left out.
func (v value) pairs(yield func(name, v value) bool) {
	array, _ := v.is.([]any)
	for i := 0; i+1 < len(array); i += 2 {
		if !yield(value{array[i]}, value{array[i+1]}) {
			return
		}
	}
}

// field is what stands behind name in an array of names and values.
func (v value) field(name string) (value, bool) {
	for n, is := range v.pairs {
		if string(n.text()) == name {
			return is, true
		}
	}
	return value{}, false
}
