"""What apps do with boto3: objects, a listing, a table, an identity, a function. usage: with_boto3.py BODY"""

import io
import sys

import boto3

(body,) = sys.argv[1:]
s3 = boto3.client("s3")
key = "Größe/a b+c=d&e~(1).txt"
s3.put_object(Bucket="shop", Key=key, Body=body.encode(), Metadata={"note": "two  spaces"})
s3.put_object(Bucket="shop", Key="large", Body=io.BytesIO(body.encode() * 5000))
# A method and a body that are hashed rather than sent with a trailer.
s3.put_object_tagging(Bucket="shop", Key=key, Tagging={"TagSet": [{"Key": "a b", "Value": "c/d"}]})
print(s3.get_object(Bucket="shop", Key=key, Range="bytes=0-99")["Body"].read().decode(), end="")
listing = s3.list_objects_v2(Bucket="shop", Prefix="a b/+&=~*", Delimiter="/", MaxKeys=2)
print(listing["KeyCount"])
s3.delete_object(Bucket="shop", Key="dir//with/../dots/.")
table = boto3.client("dynamodb")
print(table.put_item(TableName="t", Item={"id": {"S": body}}).get("Attributes", "stored"))
print(boto3.client("sts").get_caller_identity()["Account"])
# Every service but S3 signs a path that is encoded twice.
function = "arn:aws:lambda:eu-west-1:123456789012:function:f"
print(boto3.client("lambda").get_function(FunctionName=function)["Configuration"]["FunctionName"])
