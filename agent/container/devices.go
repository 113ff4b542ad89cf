package container

import (
	"encoding/csv"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"
)

func (o *options) takeDevices(raw *rawOptions, _ *pflag.FlagSet) error {
	for _, text := range raw.devices {
		device, err := parseDevice(text)
		if err != nil {
			return err
		}
		o.host.Devices = append(o.host.Devices, device)
		o.reach("--device " + text)
	}
	for _, rule := range raw.deviceRules {
		o.host.DeviceCgroupRules = append(o.host.DeviceCgroupRules, rule)
		o.reach("--device-cgroup-rule")
	}
	for _, text := range raw.gpus {
		request, err := parseGPUs(text)
		if err != nil {
			return err
		}
		o.host.DeviceRequests = append(o.host.DeviceRequests, request)
	}
	return nil
}

// parseDevice reads PATH[:PATH IN THE CONTAINER][:PERMISSIONS].
func parseDevice(text string) (container.DeviceMapping, error) {
	out := container.DeviceMapping{CgroupPermissions: "rwm"}
	parts := strings.Split(text, ":")
	permissions := func(s string) bool { return s != "" && strings.Trim(s, "rwm") == "" }
	if n := len(parts); n > 1 && n < 4 && permissions(parts[n-1]) {
		out.CgroupPermissions, parts = parts[n-1], parts[:n-1]
	}
	out.PathOnHost, out.PathInContainer = parts[0], parts[len(parts)-1]
	if len(parts) > 2 || !path.IsAbs(out.PathOnHost) || !path.IsAbs(out.PathInContainer) {
		return out, fmt.Errorf("--device %q is not PATH[:PATH][:PERMISSIONS]", text)
	}
	return out, nil
}

// allGPUs is the request for every GPU of the machine.
func allGPUs() container.DeviceRequest {
	return container.DeviceRequest{Count: -1, Capabilities: [][]string{{"gpu"}}}
}

// parseGPUs reads all, a number, or a list of fields: device, count, driver and capabilities, as docker does.
func parseGPUs(text string) (container.DeviceRequest, error) {
	request := container.DeviceRequest{Capabilities: [][]string{{"gpu"}}}
	bad := func(why string) (container.DeviceRequest, error) {
		return request, fmt.Errorf("--gpus %q: %s", text, why)
	}
	reader := csv.NewReader(strings.NewReader(text))
	reader.LazyQuotes = false
	fields, err := reader.Read()
	if err != nil {
		return bad("it is not a list of fields")
	}
	counted := false
	count := func(s string) error {
		if counted = true; s == "all" {
			request.Count = -1
			return nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("--gpus %q: %q is not a number of GPUs", text, s)
		}
		request.Count = n
		return nil
	}
	for _, field := range fields {
		name, value, named := strings.Cut(field, "=")
		switch {
		case !named:
			err = count(field)
		case name == "count":
			err = count(value)
		case name == "device":
			request.DeviceIDs = strings.Split(value, ",")
		case name == "driver":
			request.Driver = value
		case name == "capabilities":
			wanted := strings.Split(value, ",")
			if !slices.Contains(wanted, "gpu") {
				wanted = append(wanted, "gpu")
			}
			request.Capabilities = [][]string{wanted}
		default:
			return bad("there is no field " + name)
		}
		if err != nil {
			return request, err
		}
	}
	if counted == (len(request.DeviceIDs) > 0) {
		if counted {
			return bad("either count or device is given")
		}
		request.Count = -1
	}
	return request, nil
}
