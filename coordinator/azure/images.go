package azure

import (
	"context"
	"strconv"
	"strings"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// supportedImages are the images that Azure Batch's clients may name. Nodes here run what their owner installed, so that an
// image stands for the family and release of an operating system.
func supportedImages() []*apiv1.SupportedImage {
	linux, windows := apiv1.OSType_OS_TYPE_LINUX, apiv1.OSType_OS_TYPE_WINDOWS
	docker := []string{"DockerCompatible"}
	var images []*apiv1.SupportedImage
	for _, i := range []struct {
		agent, publisher, offer, sku string
		os                           apiv1.OSType
		capabilities                 []string
	}{
		{"batch.node.ubuntu 20.04", "canonical", "0001-com-ubuntu-server-focal", "20_04-lts", linux, docker},
		{"batch.node.ubuntu 22.04", "canonical", "0001-com-ubuntu-server-jammy", "22_04-lts", linux, docker},
		{"batch.node.ubuntu 24.04", "canonical", "ubuntu-24_04-lts", "server", linux, docker},
		{"batch.node.debian 11", "debian", "debian-11", "11", linux, docker},
		{"batch.node.debian 12", "debian", "debian-12", "12", linux, docker},
		{"batch.node.el 9", "almalinux", "almalinux-x86_64", "9-gen2", linux, docker},
		{"batch.node.windows amd64", "microsoftwindowsserver", "windowsserver", "2019-datacenter", windows, nil},
		{"batch.node.windows amd64", "microsoftwindowsserver", "windowsserver", "2022-datacenter", windows, nil},
	} {
		images = append(images, &apiv1.SupportedImage{
			NodeAgentSkuId:   i.agent,
			ImageReference:   &apiv1.ImageReference{Publisher: i.publisher, Offer: i.offer, Sku: i.sku, Version: "latest"},
			OsType:           i.os,
			Capabilities:     i.capabilities,
			VerificationType: apiv1.ImageVerificationType_IMAGE_VERIFICATION_TYPE_VERIFIED,
		})
	}
	return images
}

// listSupportedImages pages by the position in the list, which never changes while the program runs.
func listSupportedImages(_ context.Context, c *call) error {
	l, err := c.listing(&apiv1.SupportedImage{})
	if err != nil {
		return err
	}
	start := 0
	if token := l.options.GetPageToken(); token != "" {
		if start, err = strconv.Atoi(token); err != nil || start < 0 || start > len(c.images) || strings.HasPrefix(token, "+") {
			return batcherr.InvalidQuery("$skiptoken", token, "Not a token of this list.")
		}
	}
	size := int(l.options.GetPageSize())
	if size == 0 {
		size = maxPageSize
	}
	var page []*apiv1.SupportedImage
	for i := start; i < len(c.images); i++ {
		if len(page) == size {
			return list(c, c.encoder(), "supportedimages", page, l, strconv.Itoa(i))
		}
		if l.filter.Match(c.images[i]) {
			page = append(page, c.images[i])
		}
	}
	return list(c, c.encoder(), "supportedimages", page, l, "")
}
