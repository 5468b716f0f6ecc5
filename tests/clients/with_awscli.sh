#!/bin/sh
# What people do with the AWS CLI: copies from stdin, one of them in parts, a copy back, a listing, an identity.
# usage: with_awscli.sh BODY
set -eu
printf %s "$1" | aws s3 cp - "s3://shop/a b+c.txt" --expected-size 100
head -c 9000000 /dev/zero | aws s3 cp - s3://shop/parts
aws s3 cp "s3://shop/a b+c.txt" -
aws s3api list-objects-v2 --no-paginate --bucket shop --prefix "a b/+&=" --query KeyCount
aws sts get-caller-identity --query Account --output text
