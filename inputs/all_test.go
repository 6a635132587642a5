package inputs

import (
	"testing"

	"github.com/hermod-agent/hermod/pipeline/componenttest"
)

func TestComponentsKeepTheirContracts(t *testing.T) { componenttest.Conform(t, All()) }
